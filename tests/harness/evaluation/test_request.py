"""What a model is called in results, and choices that nothing can be evaluated by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baselines import find
from harness.errors import UsageError
from harness.evaluation.request import Request, name_of_weights


@pytest.mark.parametrize(("weights", "name"), [
    ("runs/mine", "mine"),
    ("runs/florence2-b-unified-0f3a/checkpoint", "florence2-b-unified-0f3a"),
    ("owner/name", "name"),
    ("owner/name@v1.2", "name@v1.2"),
    ("/", "weights"),
    ("runs/<b>$x", "_b__x"),
])  # fmt: skip
def test_name_of_weights_is_that_of_the_folder_or_repository(weights: str, name: str) -> None:
    assert name_of_weights(weights) == name


def test_model_is_called_as_given_then_by_its_weights_then_by_its_entry() -> None:
    entry = find("florence2-b")
    assert Request(task="refcoco", model="florence2-b").called(entry) == "florence2-b"
    assert Request(task="refcoco", model="florence2-b", weights="runs/mine").called(entry) == "mine"
    assert (
        Request(task="refcoco", model="florence2-b", weights="runs/mine", name="ours (1)").called(entry) == "ours (1)"
    )


def test_name_of_a_run_with_examples_says_how_many() -> None:
    entry = find("idefics-9b")

    def called(shots: int, **fields: Any) -> str:
        return Request(task="vqav2", model="idefics-9b", options={"shots": shots}, **fields).called(entry)

    assert (called(0), called(1), called(8)) == ("idefics-9b", "idefics-9b (1 shot)", "idefics-9b (8 shots)")
    assert (called(4, weights="runs/mine"), called(4, name="mine")) == ("mine (4 shots)", "mine")
    longest = called(4, weights="x" * 200)
    assert len(longest) == 100 and longest.endswith("x (4 shots)")


@pytest.mark.parametrize("name", ["a/b", "..\x1b[2J", "", " ", "x" * 300, "<script>", "a\nb", "=cmd()"])
def test_name_that_could_not_stand_in_a_table_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="up to 100 letters, digits, spaces"):
        Request(task="refcoco", model="oracle", name=name)


def test_limit_and_protocol_are_checked() -> None:
    with pytest.raises(UsageError, match="--limit 0"):
        Request(task="refcoco", model="oracle", limit=0)
    with pytest.raises(UsageError, match="zero_shot, few_shot or fine_tuned"):
        Request(task="refcoco", model="oracle", protocol="magic")


def test_three_checkpoints_of_one_entry_are_three_models(tmp_path: Path, miniature: Path) -> None:
    from harness.evaluation.evaluate import evaluate
    from harness.florence2 import weights

    own = find("florence2-nano").checkpoint(None)  # type: ignore[misc]
    network = weights.load(own).model
    called = []
    for number in range(3):
        folder = tmp_path / f"tuned-{number}"
        network.embedding.weight.data[5] += 0.01
        weights.save(network, folder)
        (folder / "tokenizer.json").write_bytes((own / "tokenizer.json").read_bytes())
        run = evaluate(
            Request(task="vizwiz", model="florence2-nano", weights=str(folder), limit=2, data="miniature", out=tmp_path)
        )
        called.append(run.spec.model)
        assert run.provenance["entry"] == "florence2-nano"
    assert called == ["tuned-0", "tuned-1", "tuned-2"]
