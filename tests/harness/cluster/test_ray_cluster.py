"""A cluster on Ray: the same answers as one process, and what becomes of workers that die, hang or disagree.

All tests but those of addresses share one local cluster.  The model is `Toy`, whose faults happen on a worker once, or
always: a file in a folder remembers.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import images
from harness.cluster import ray_cluster
from harness.cluster.ray_cluster import RayCluster, Spread, connect
from harness.cluster.worker import versions
from harness.core import Answer, Failure, Question, Text, Ticket
from harness.errors import CheckpointError, ModelError, ResourceError
from tests.packed import write_images

ray = pytest.importorskip("ray")
CORES = 4  # of the local cluster; workers sleep more than they compute


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    connect("local", CORES)
    yield
    ray.shutdown()


class Toy:
    """Answers each question with its text; `fault` may happen at the question `at`."""

    def __init__(
        self, folder: Path, fault: str = "", at: int = -1, fingerprint: str = "toy", root: Path = Path()
    ) -> None:
        self.folder, self.fault, self.at, self.root = folder, fault, at, root
        self.fingerprint = fingerprint
        self.provenance: dict[str, Any] = {"device": "toy", "batch size": 4}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            with (self.folder / "asked.log").open("a") as log:
                log.write(f"{ticket}\n")
            if ticket == self.at or self.fault == "broken":
                self._happens()
            if self.fault == "ships":
                size = images.size_of(self.root, question.image_name)
                yield ticket, Answer((f"{size.width}",), Text((f"{size.width}",)))
                continue
            yield ticket, Answer((question.text,), Text((question.text,)))

    def _happens(self) -> None:
        if self.fault == "always dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ("always raises", "broken"):
            raise ValueError("a bug at this question")
        if self.fault in ("dies", "hangs", "raises") and first(self.folder / "happened"):
            if self.fault == "raises":
                raise ValueError("a device that is lost")
            if self.fault == "hangs":
                time.sleep(1_000)
            os.kill(os.getpid(), signal.SIGKILL)


def behind(clock: Callable[[], float]) -> float:
    return clock() - 86_400


def first(path: Path) -> bool:
    """Whether no process has called this before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def build(folder: Path, fault: str, at: int, shipped: Path | None) -> Toy:
    if fault == "clock":
        for name in ("time", "monotonic", "perf_counter"):
            setattr(time, name, partial(behind, getattr(time, name)))
    if fault == "no weights":
        raise CheckpointError("no weights here; give --weights FOLDER")
    if fault == "disagrees" and not first(folder / "first"):
        return Toy(folder, fingerprint="another")
    return Toy(folder, fault, at, root=shipped or Path())


def questions(count: int) -> Iterator[tuple[Ticket, Question]]:
    return ((ticket, Question(f"{ticket // 2}.jpg", None, "vqa", text=f"question {ticket}")) for ticket in range(count))


def start(folder: Path, fault: str = "", at: int = -1, **spread: Any) -> RayCluster:
    return RayCluster(partial(build, folder, fault, at), Spread(**{"workers": 2, **spread}), folder)


def answers(cluster: RayCluster, count: int) -> dict[int, str]:
    """The text of each answer, or the reason of each Failure; each ticket must come once."""
    found: dict[int, str] = {}
    for ticket, answer in cluster.answer(questions(count)):
        assert ticket not in found
        found[ticket] = answer.reason if isinstance(answer, Failure) else answer.raw[0]
    return found


RIGHT = {ticket: f"question {ticket}" for ticket in range(60)}


@pytest.mark.parametrize(("workers", "chunk"), [(1, None), (2, 7), (3, 1)])
def test_answers_are_those_of_one_process(tmp_path: Path, workers: int, chunk: int | None) -> None:
    with start(tmp_path, workers=workers, chunk=chunk) as cluster:
        assert answers(cluster, 60) == RIGHT
        assert answers(cluster, 0) == {}
        assert answers(cluster, 60) == RIGHT  # another task, with the same workers
        executor = cluster.provenance["executor"]
    assert 1 <= executor["workers"] <= workers  # those that were ready before the others had answered everything
    assert (executor["restarts"], executor["ray"]) == (0, ray.__version__)
    assert cluster.provenance["device"] == "toy"


@pytest.mark.parametrize("fault", ["dies", "raises", "hangs"])
def test_fault_of_a_worker_costs_at_most_what_it_held(tmp_path: Path, fault: str) -> None:
    with start(tmp_path, fault, at=20, chunk=6, patience=3.0) as cluster:
        assert answers(cluster, 60) == RIGHT
        assert cluster.provenance["executor"]["restarts"] <= 1  # 0: another worker had answered before it was noticed
    asked = (tmp_path / "asked.log").read_text().split()
    assert set(asked) == {str(number) for number in range(60)}
    assert len(asked) <= 60 + 6


@pytest.mark.parametrize(
    ("fault", "reason"), [("always dies", "set aside: 3 workers died"), ("always raises", "a bug")]
)
def test_poisonous_question_fails_alone(tmp_path: Path, fault: str, reason: str) -> None:
    with start(tmp_path, fault, at=21, chunk=6) as cluster:
        found = answers(cluster, 60)
    assert reason in found.pop(21)
    assert found == {ticket: text for ticket, text in RIGHT.items() if ticket != 21}


def test_model_that_answers_nothing_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with start(tmp_path, "broken", workers=1) as cluster, pytest.raises(ModelError, match="a bug"):
        answers(cluster, 60)


def test_worker_with_another_fingerprint_is_refused_by_name(tmp_path: Path) -> None:
    with start(tmp_path, "disagrees") as cluster:
        deadline = time.monotonic() + 60
        while "refused" not in cluster.provenance["executor"] and time.monotonic() < deadline:
            assert answers(cluster, 20) == {ticket: RIGHT[ticket] for ticket in range(20)}
        [refused] = cluster.provenance["executor"]["refused"]
        assert "fingerprint is 'another'; the driver's is 'toy'" in refused
        assert cluster.provenance["executor"]["workers"] == 1


def digest(folder: Path, of_first: str, of_others: str) -> str:
    return of_first if first(folder / "checked") else of_others


def test_worker_with_other_data_is_refused_and_the_last_ends_the_run(tmp_path: Path) -> None:
    with start(tmp_path) as cluster:
        cluster.expect(partial(digest, tmp_path, "right", "right"), "right")
        assert answers(cluster, 20) == {ticket: RIGHT[ticket] for ticket in range(20)}
        cluster.expect(partial(digest, tmp_path, "-", "wrong"), "right")
        with pytest.raises(ModelError, match=r"every worker was refused.*its data has the digest wrong"):
            answers(cluster, 20)


def test_error_of_the_model_while_it_loads_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights here; give --weights FOLDER"):
        start(tmp_path, "no weights")


def test_shipped_images_reach_workers_without_the_data_root(tmp_path: Path) -> None:
    write_images(tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    with start(tmp_path, "ships", ship_images=True) as cluster:
        found = dict(cluster.answer((ticket, Question(name, None, "caption")) for ticket, name in enumerate(names)))
        shipped = cluster.provenance["executor"]["images shipped"]
    assert shipped >= len(names)  # or more, where the last chunk was given to two workers
    for ticket, name in enumerate(names):
        answer = found[ticket]
        assert isinstance(answer, Answer)
        assert answer.raw == (f"{images.size_of(tmp_path, name).width}",)


def its_own(root: Path) -> Path:
    return root


def test_folder_of_shipped_images_is_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path(tempfile.gettempdir()).glob("harness-images-*"))
    with start(tmp_path, "ships", ship_images=True, workers=1) as cluster:
        cluster.wait_for_all()
        assert set(Path(tempfile.gettempdir()).glob("harness-images-*")) - before
    assert not set(Path(tempfile.gettempdir()).glob("harness-images-*")) - before


def test_death_of_a_worker_is_logged_and_not_printed_among_results(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "harness.cluster.connection")
    with start(tmp_path, "dies", at=20, chunk=6) as cluster:
        assert answers(cluster, 60) == RIGHT
        deadline = time.monotonic() + 30
        while not any("worker died" in record.message for record in caplog.records) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert any("ray: A worker died" in record.message for record in caplog.records)
    assert capfd.readouterr().out == ""


def test_image_that_a_node_has_is_not_shipped(tmp_path: Path) -> None:
    """All but one: that of the driver has another hash, and the worker answers with the driver's."""
    driver, node = tmp_path / "driver", tmp_path / "node"
    write_images(driver)
    names = sorted(str(path.relative_to(driver)) for path in driver.rglob("*.jpg"))
    shutil.copytree(driver, node)
    (node / names[0]).write_bytes(b"another image")
    spread = Spread(workers=1, ship_images=True)
    with RayCluster(partial(build, driver, "ships", -1), spread, driver, partial(its_own, node)) as cluster:
        found = dict(cluster.answer((ticket, Question(name, None, "caption")) for ticket, name in enumerate(names)))
        assert cluster.provenance["executor"]["images shipped"] == 1
    for ticket, name in enumerate(names):
        answer = found[ticket]
        assert isinstance(answer, Answer)
        assert answer.raw == (f"{images.size_of(driver, name).width}",)


@pytest.mark.parametrize("package", ["harness", "torch", "transformers"])
def test_worker_with_another_version_is_refused_by_name(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's versions are made others, as if a worker had another package."""
    monkeypatch.setattr(ray_cluster, "versions", lambda: {**versions(), package: "9.9"})
    with pytest.raises(ModelError, match=rf"every worker was refused.*worker . on .*{package} is .*driver's is '9\.9'"):
        start(tmp_path, workers=1)


def test_clock_of_a_worker_does_not_matter(tmp_path: Path) -> None:
    """A day behind, by every clock that Python reads: no worker counts as late, and no time is negative."""
    with start(tmp_path, "clock", chunk=5, patience=3.0) as cluster:
        assert answers(cluster, 60) == RIGHT
        assert cluster.provenance["executor"]["restarts"] == 0


def test_object_store_without_room_for_the_images_is_a_line(tmp_path: Path) -> None:
    """An image of 100 MiB, and a store of 80 MiB that counts its disk as full."""
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(100 << 20)
    ray.shutdown()
    settings = {"local_fs_capacity_threshold": 0.0}
    ray.init("local", num_cpus=1, object_store_memory=80 << 20, _system_config=settings, logging_level="CRITICAL")
    try:
        with (
            start(tmp_path, workers=1, ship_images=True) as cluster,
            pytest.raises(ResourceError, match=r"no room for the 100 MiB of a chunk's 1 images: free the disk"),
        ):
            list(cluster.answer([(0, Question("large.jpg", None, "caption"))]))
    finally:
        ray.shutdown()
        connect("local", CORES)
