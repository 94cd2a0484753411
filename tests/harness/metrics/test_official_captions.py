"""The official caption programs, called by us, against our own scorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError, ResourceError
from harness.metrics import captions, java, official_captions
from tests.harness.metrics.caption_sets import CLOSE

needs_java = pytest.mark.skipif(java.java() is None, reason="there is no Java")
CANDIDATES = ["A man's dog runs.", "", "two cats", "A dog\nruns on the grass"]
REFERENCES = [["A dog runs.", "a dog"], ["nothing"], ["Two cats sit.", "cats"], ["The dog runs in the grass."]]


@needs_java
@pytest.mark.parametrize("images", [1, 4])
def test_official_pipeline_gives_our_scores(images: int) -> None:
    candidates, references = CANDIDATES[:images], REFERENCES[:images]
    official, ours = official_captions.mark(candidates, references), captions.mark(candidates, references)
    for name in ("cider", "rouge_l", "correct", "guessed", "length", "reference_length"):
        np.testing.assert_allclose(getattr(official, name), getattr(ours, name), **CLOSE)


@needs_java
def test_references_without_words_have_a_cider_of_zero() -> None:
    """The official CIDEr code fails on these."""
    assert official_captions.mark(["a", "b"], [["."], [""]]).cider.tolist() == [0, 0]


def test_other_number_of_lines_than_captions_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `java` that is a script and prints one line."""
    script = tmp_path / "java"
    script.write_text("#!/bin/sh\ncat > /dev/null\nprintf 'a dog'\n")
    script.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: script)
    assert official_captions.tokens(["A dog."]) == [["a", "dog"]]
    with pytest.raises(DataError, match="1 lines for 2 captions"):
        official_captions.tokens(["A dog.", "A cat."])


@needs_java
def test_failed_tokeniser_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official_captions, "PTB_JAR", "tokenizer/none.jar")
    with pytest.raises(ResourceError, match=r"Stanford's tokeniser failed: .*PTBTokenizer"):
        official_captions.tokens(["a dog"])


@needs_java
def test_spice_without_its_models_says_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official_captions, "SPICE_MODELS", "spice/lib/none-models.jar")
    with pytest.raises(ResourceError, match=r"put stanford-corenlp-3\.6\.0\.jar and none-models\.jar into .*spice/lib"):
        official_captions.require_spice()


@pytest.mark.parametrize(("candidates", "references"), [([], []), (["a"], [[]]), (["a", "b"], [["a"]])])
def test_captions_that_cannot_be_scored_are_refused(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> None:
    with pytest.raises(ValueError, match=r"captions|candidates"):
        official_captions.mark(candidates, references)
