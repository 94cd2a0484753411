"""METEOR against the official program, and by hand; and the life of the program's process."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import ResourceError
from harness.metrics import java, meteor
from harness.metrics.meteor import Meteor, score

needs_java = pytest.mark.skipif(java.java() is None, reason="there is no Java")
TEXT = "A dog runs.  Two dogs run on the green grass; a man is running in the lawn, and men ship it's boat of the U.S."
WORDS = TEXT.split()


def test_score_by_hand() -> None:
    """The candidate "a dog runs" against the reference "a dog is running".

    "a" (a function word) and "dog" match exactly.  "runs" (a content word) is a paraphrase of "is" (a function word).
    The three matched words are one chunk.  Weighted matches are 0.75 + 0.25 + 0.6 * 0.75 = 1.45 of 2 * 0.75 + 0.25 =
    1.75 in the candidate, and 0.75 + 0.25 + 0.6 * 0.25 = 1.15 of 2 * 0.75 + 2 * 0.25 = 2 in the reference.
    """
    counts = [3, 4, 1, 2, 1, 1, 1, 1, *[0] * 8, 1, 0, 0, 1, 1, 3, 3]
    precision, recall = 1.45 / 1.75, 1.15 / 2
    expected = 1 / (0.15 / precision + 0.85 / recall) * (1 - 0.6 * (1 / 3) ** 0.2)
    # About 20 operations on numbers of at most 2, each with a relative error of a few units; so is the power.
    assert score(counts) == pytest.approx(expected, abs=100 * np.finfo(np.float64).eps)


def test_equal_captions_score_one_and_unmatched_ones_zero() -> None:
    equal = [2, 2, 1, 1, 1, 1, 1, 1, *[0] * 12, 0, 2, 2]  # no chunks: no penalty
    assert score([equal, [0] * 23, [2, 3, 1, 1, *[0] * 19]]).tolist() == [1, 0, 0]


def evaluated(program: Meteor, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The program's own scores for captions with these counts, and for their corpus."""
    first = program._query("EVAL", *(" ".join(map(str, row)) for row in counts.tolist()))
    each = [float(first), *(float(program._reply()) for _ in counts[1:])]
    return np.array(each), float(program._reply())


@needs_java
@pytest.mark.slow
def test_score_equals_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 captions: some equal to a reference, one empty, one with METEOR's separator; decimal commas in the locale."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    draw = random.Random(0)

    def caption() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))

    references = [[caption() for _ in range(draw.randint(1, 4))] for _ in range(200)]
    candidates = [draw.choice(captions) if draw.random() < 0.1 else caption() for captions in references]
    candidates[:3] = [references[0][0], "", "a dog ||| runs  quickly"]
    with closing(Meteor()) as program:
        counts = program.counts(candidates, references)
        each, corpus = evaluated(program, counts)
        again = program.counts(candidates[:2], references[:2])
    np.testing.assert_allclose(score(counts), each, rtol=0, atol=1e-12)
    assert score(counts.sum(axis=0)) == pytest.approx(corpus, abs=1e-12)
    assert each[0] == 1 and each[1] == 0 and 0 < corpus < 1
    np.testing.assert_array_equal(again, counts[:2])


# --- the program's process ---


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `java` that is a script with a child process; the file holds the child's process id."""
    written = tmp_path / "child"
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {written}.new\nmv {written}.new {written}\necho 1\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: script)
    yield written


def ends(pid: int, seconds: float = 30.0) -> bool:
    """Whether a process ends within some time; a zombie has ended."""
    for _ in range(int(seconds / 0.05)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_close_ends_the_process_and_its_children(sleeper: Path) -> None:
    program = Meteor()
    program.start()
    assert program._reply() == "1"  # after the child's id is written
    process, log = program._process, program._log
    assert process is not None and log is not None
    child = int(sleeper.read_text())
    program.close()
    assert process.returncode is not None
    assert process.stdin is not None and process.stdin.closed and log.closed
    assert ends(child)
    program.close()  # a second call does nothing


def test_program_that_cannot_be_started_leaves_no_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "java", lambda: tmp_path / "nowhere/java")
    program = Meteor()
    with pytest.raises(ResourceError, match=r"METEOR's program cannot be started: .*nowhere/java: No such file"):
        program.start()
    assert program._log is None


def test_release_closes_the_shared_program(sleeper: Path, no_meteor: None) -> None:
    program = meteor.kept()
    assert meteor.kept() is program
    program.start()
    process = program._process
    assert process is not None
    meteor.release()
    assert process.returncode is not None
    assert meteor.kept() is not program


@needs_java
def test_failed_program_is_a_resource_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.metrics.meteor.JAR", "meteor/none.jar")
    with closing(Meteor()) as program, pytest.raises(ResourceError, match=r"METEOR's program ended: .*none\.jar"):
        program.counts(["a dog"], [["a dog"]])


def test_reply_that_is_not_counts_is_a_resource_error(sleeper: Path) -> None:
    with closing(Meteor()) as program, pytest.raises(ResourceError, match="something other than 23 counts"):
        program.counts(["a dog"], [["a dog"]])  # the reply is "1"


def test_start_without_java_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "java", lambda: None)
    with pytest.raises(ResourceError, match=r"there is no Java \(pip install florence2-harness\[java\]\)"):
        Meteor().start()
