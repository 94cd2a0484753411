"""METEOR against its own program, and by hand."""

from __future__ import annotations

import random
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import ResourceError
from harness.metrics import java
from harness.metrics.meteor import Meteor, score

needs_java = pytest.mark.skipif(java.java() is None, reason="there is no Java")
TEXT = "A dog runs.  Two dogs run on the green grass; a man is running in the lawn, and men ship it's boat of the U.S."
WORDS = TEXT.split()


def test_by_hand() -> None:
    """ "a dog runs" beside "a dog is running": "dog" is met as it is, "a" too and is a function word, and "runs" (by
    content) is a paraphrase of "is" (a function word); one chunk of three words.

    Matched, weighed: 0.75 + 0.25 + 0.6 * 0.75 = 1.45 of 2 * 0.75 + 0.25 = 1.75, and 0.75 + 0.25 + 0.6 * 0.25 = 1.15 of
    2 * 0.75 + 2 * 0.25 = 2.  The chunk is a third of the words met.
    """
    counts = [3, 4, 1, 2, 1, 1, 1, 1, *[0] * 8, 1, 0, 0, 1, 1, 3, 3]
    precision, recall = 1.45 / 1.75, 1.15 / 2
    expected = 1 / (0.15 / precision + 0.85 / recall) * (1 - 0.6 * (1 / 3) ** 0.2)
    assert score(counts) == pytest.approx(expected, abs=1e-15)


def test_word_for_word_is_whole_and_nothing_is_nothing() -> None:
    whole = [2, 2, 1, 1, 1, 1, 1, 1, *[0] * 12, 0, 2, 2]  # no chunk: nothing is broken up
    assert score([whole, [0] * 23, [2, 3, 1, 1, *[0] * 19]]).tolist() == [1, 0, 0]


def evaluated(meteor: Meteor, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The program's own scores for captions with these counts, and for the corpus of them."""
    first = meteor._ask("EVAL", *(" ".join(map(str, row)) for row in counts.tolist()))
    each = [float(first), *(float(meteor._answer()) for _ in counts[1:])]
    return np.array(each), float(meteor._answer())


@needs_java
@pytest.mark.slow
def test_the_program_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 captions, some copies, one empty, one with METEOR's own mark; in a locale with decimal commas."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    draw = random.Random(0)

    def caption() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))

    references = [[caption() for _ in range(draw.randint(1, 4))] for _ in range(200)]
    candidates = [draw.choice(theirs) if draw.random() < 0.1 else caption() for theirs in references]
    candidates[:3] = [references[0][0], "", "a dog ||| runs  quickly"]
    with closing(Meteor()) as meteor:
        counts = meteor.counts(candidates, references)
        each, corpus = evaluated(meteor, counts)
        again = meteor.counts(candidates[:2], references[:2])
    np.testing.assert_allclose(score(counts), each, rtol=0, atol=1e-12)
    assert score(counts.sum(axis=0)) == pytest.approx(corpus, abs=1e-12)
    assert each[0] == 1 and each[1] == 0 and 0 < corpus < 1
    np.testing.assert_array_equal(again, counts[:2])


@needs_java
def test_a_program_that_stops_is_said_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.metrics.meteor.JAR", "meteor/none.jar")
    with closing(Meteor()) as meteor, pytest.raises(ResourceError, match=r"METEOR stopped: .*none\.jar"):
        meteor.counts(["a dog"], [["a dog"]])


def test_no_java_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "java", lambda: None)
    with pytest.raises(ResourceError, match=r"there is no Java \(pip install florence2-harness\[java\]\)"):
        Meteor().start()
