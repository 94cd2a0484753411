"""Events reach the trackers of the surrounding context; a broken tracker never breaks a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness import tracking
from harness.errors import UsageError
from harness.tracking import events, session


class Recorder:
    """A tracker that records what it is told; `breaks` names the event that raises."""

    told: ClassVar[list[tuple[Any, ...]]] = []
    breaks: ClassVar[str] = ""

    def __init__(self, name: str, facts: Mapping[str, Any], folder: Path) -> None:
        self._tell("start", name, dict(facts), folder)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._tell("log", dict(values), step)

    def artifact(self, path: Path) -> None:
        self._tell("artifact", path.name)

    def finish(self, status: str) -> None:
        self._tell("finish", status)

    def _tell(self, event: str, *what: Any) -> None:
        if event == self.breaks:
            raise ConnectionError("no route\nto host")
        self.told.append((event, *what))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """The tracker "recorder", whose class is in `harness.tracking.session` for this test."""
    monkeypatch.setitem(events.TRACKERS, "recorder", events.Kind("session.Recorder", "json", ""))
    monkeypatch.setattr(session, "Recorder", Recorder, raising=False)
    monkeypatch.setattr(Recorder, "told", [])
    return Recorder


def send(folder: Path) -> None:
    (folder / "a.csv").write_text("a")
    with tracking.run("name", {"seed": 1}):
        tracking.log({"Acc@0.5": 1, "loss": float("inf")}, 5)
        tracking.artifact(folder / "a.csv")
        tracking.artifact(folder / "missing.csv")


def test_events_without_a_tracker_do_nothing(tmp_path: Path) -> None:
    send(tmp_path)
    tracking.log({"a": 1.0}, 0)


def test_events_come_in_order_with_plain_names_and_finite_numbers(recorder: type[Recorder], tmp_path: Path) -> None:
    with tracking.to(["recorder", "recorder"], tmp_path):
        assert tracking.used("recorder") and not tracking.used("wandb")
        send(tmp_path)
        tracking.log({"a": 1.0}, 0)  # of no run
    assert not tracking.used("recorder")
    assert recorder.told == [
        ("start", "name", {"seed": 1}, tmp_path),
        ("log", {"Acc_0.5": 1.0}, 5),
        ("artifact", "a.csv"),
        ("finish", "finished"),
    ]


def test_names_and_facts_are_printable(recorder: type[Recorder], tmp_path: Path) -> None:
    with tracking.to(["recorder"], tmp_path), tracking.run("a\x1b[2J\ud800b", {"data": "x\ny", "seed": 1}):
        pass
    assert recorder.told[0][1:3] == ("a [2J b", {"data": "x y", "seed": 1})


def test_run_in_a_run_has_its_own_events(recorder: type[Recorder], tmp_path: Path) -> None:
    with tracking.to(["recorder"], tmp_path), tracking.run("outer", {}):
        with tracking.run("inner", {}):
            pass
        tracking.log({"a": 1.0}, 1)
    assert [told[:2] for told in recorder.told] == [
        ("start", "outer"), ("start", "inner"), ("finish", "finished"), ("log", {"a": 1.0}), ("finish", "finished"),
    ]  # fmt: skip


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_run_that_raises_finishes_with_its_status(
    recorder: type[Recorder], tmp_path: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), tracking.to(["recorder"], tmp_path), tracking.run("name", {}):
        raise error
    assert recorder.told[-1] == ("finish", status)


@pytest.mark.parametrize("breaks", ["start", "log", "artifact", "finish"])
def test_tracker_that_raises_is_dropped_with_one_warning_line(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    breaks: str,
) -> None:  # fmt: skip
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(recorder, "breaks", breaks)
    with tracking.to(["recorder"], tmp_path):
        send(tmp_path)
        send(tmp_path)
    assert caplog.messages == ["recorder failed, so the run goes on without: no route to host"]
    order = ["start", "log", "artifact", "finish"]
    assert [told[0] for told in recorder.told] == order[: order.index(breaks)]


def test_unknown_or_missing_tracker_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(events.TRACKERS, "absent", events.Kind("absent.A", "no_such_package", "pip install it"))
    with (
        pytest.raises(UsageError, match="--log-to absent: no_such_package is not installed: pip install it"),
        tracking.to(["absent"], tmp_path),
    ):
        raise AssertionError
    with (
        pytest.raises(UsageError, match="--log-to wandbb: no such tracker; there are tensorboard, wandb, mlflow, "),
        tracking.to(["wandbb"], tmp_path),
    ):
        raise AssertionError


def test_sent_sends_the_events_of_a_generator(recorder: type[Recorder], tmp_path: Path) -> None:
    def runs() -> Any:
        for name in ("a", "b"):
            with tracking.run(name, {}):
                pass
            yield name

    assert list(tracking.sent(runs(), ["recorder"], tmp_path)) == ["a", "b"]
    assert [told[:2] for told in recorder.told if told[0] == "start"] == [("start", "a"), ("start", "b")]
