"""Runtimes as peers: the search for their best settings, the check of tokens, parts, and the ratio of times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.errors import ResourceError, UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported.checking import Compared
from harness.florence2.exported.runtimes import Settings
from harness.speed import runtimes
from harness.speed.scenarios import ask
from harness.speed.systems import RANDOM, Subject
from tests.exported import NEW_TOKENS, PREPROCESS, RUNTIMES, by_transformers, folder, queries, small
from tests.twins import fast


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """`small` in float32, whose graphs are exported already."""
    monkeypatch.setattr(runtimes, "exported", lambda *_: folder())
    decoding = Decoding(max_new_tokens=NEW_TOKENS)
    return Subject(fast(small().ours), PREPROCESS, decoding, 2, RANDOM, torch.float32, lambda: small().ours)


@pytest.mark.parametrize("name", RUNTIMES)
def test_peer_answers_as_transformers_and_describes_its_settings(subject: Subject, name: str) -> None:
    pytest.importorskip(name)
    peer = runtimes.build(name, subject, queries(), 2)
    assert ask(peer.system, range(len(queries()))) == by_transformers(3)
    described = peer.described
    assert described["precision"] == "float32" and described["threads"] >= 1
    assert described["equal float32 tokens"] == 2 * 2 * 64  # two answers of 64 tokens, greedy and with beams
    assert described["theirs versus float32"]["agreement"] == 1.0
    assert described["theirs versus float32"]["tower error"] < 1e-5
    assert len(described["seconds of settings"]) >= 1 + len(described["hints"])


@pytest.mark.parametrize("name", RUNTIMES)
def test_parts_have_a_ratio_each(subject: Subject, name: str) -> None:
    """The network has positions for 64 tokens, so that nothing of 100 tokens is timed."""
    pytest.importorskip(name)
    peer = runtimes.build(name, replace(subject, decoding=Decoding(beams=2, max_new_tokens=4)), queries(), 1)
    lines = runtimes.parts(peer, replace(subject, decoding=Decoding(beams=2)), queries(), 2, 3)
    parts = ["vision", "text encoder", "write 20 tokens, greedy", "write 20 tokens, 2 beams"]
    assert [line["part"] for line in lines] == parts
    for line in lines:
        assert line["least"] <= line["ratio"]["value"] <= line["most"] and line["ours"] > 0 and line["theirs"] > 0


def test_int8_of_ours_is_compared_with_int8_of_the_runtime(subject: Subject) -> None:
    pytest.importorskip("onnxruntime")
    peer = runtimes.build("onnxruntime", replace(subject, dtype=torch.int8), queries(), 2)
    assert peer.network.settings.precision == "int8"
    assert 1e-4 < peer.described["theirs versus float32"]["tower error"] < 0.5
    assert peer.described["ours versus float32"]["tower error"] < 1e-5  # here ours stayed in float32


def test_wrong_tokens_are_an_error_before_anything_is_timed(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("harness.florence2.exported.checking.compare", lambda *_: Compared(3, 0.0, "token 4: 7, not 8"))
    monkeypatch.setattr(runtimes, "_seconds", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(ResourceError, match=r"writes other tokens .* token 4: 7, not 8"):
        runtimes.build("onnxruntime", subject, queries(), 2)


def test_fastest_settings_with_wrong_tokens_are_not_used(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    faster = Settings("onnxruntime", "float32", 1, {"spinning": "1"})
    monkeypatch.setattr(runtimes, "search", lambda *_: (faster, {}))
    monkeypatch.setattr(runtimes, "compare", lambda *_: Compared(3, 0.0, "token 4: 7, not 8"))
    assert runtimes.build("onnxruntime", subject, queries(), 2).described["hints"]["spinning"] == "0"


def test_search_keeps_each_value_that_is_faster() -> None:
    """Four seconds; half the threads take 3, extended optimisation 1 more, spinning 0.5 less."""
    tried: list[Settings] = []

    def seconds(settings: Settings) -> float:
        tried.append(settings)
        cost = 3.0 if settings.threads == 2 else 4.0
        cost += 1.0 if settings.hint("optimisation") == "extended" else 0.0
        return cost - (0.5 if settings.hint("spinning") == "1" else 0.0)

    best, times = runtimes.search(Settings("onnxruntime", "int8", 4), seconds)
    assert best == Settings("onnxruntime", "int8", 2, {"spinning": "1"})
    assert list(times.values()) == [4.0, 3.0, 4.0, 2.5]
    assert list(times)[-1] == "threads=2 optimisation=all spinning=1" and len(tried) == 4


def test_ratio_is_the_median_of_the_rounds() -> None:
    """1.5, 2 and 3 times; three rounds have no interval."""
    found = runtimes.ratio([2.0, 1.0, 1.0], [3.0, 2.0, 3.0])
    assert found["ratio"] == {"value": 2.0, "low": None, "high": None, "n": 3}
    assert (found["least"], found["most"], found["ours"], found["theirs"]) == (1.5, 3.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.float16}, "--against onnxruntime: no float16 on a CPU"),
        ({"model": torch.nn.Module()}, "--against onnxruntime is for a CPU, and the model is on meta"),
    ],
)
def test_other_devices_and_precisions_are_refused(subject: Subject, changes: dict[str, Any], message: str) -> None:
    for model in changes.values():
        if isinstance(model, torch.nn.Module):
            model.embedding = torch.nn.Embedding(1, 1, device="meta")
    with pytest.raises(UsageError, match=message):
        runtimes.check("onnxruntime", replace(subject, **changes))
