"""METEOR 1.5 of captions: its own program matches words and counts them, `score` computes METEOR from the counts.

    program = kept()                                   one program for the process, which closes it at exit
    program.start()                                    loads in the background
    counts = program.counts(candidates, references)    one row a caption
    score(counts.sum(axis=0))                          METEOR of the corpus
    score(counts)                                      METEOR of each caption

Denkowski and Lavie, WMT 2014, as pycocoevalcap 1.2 calls it: English, `-norm`, on Penn Treebank tokens.  The corpus's
score is of summed counts, and not the mean of the captions'; so it can be summed anew under other weights, which the
program cannot.  What is put together here is equal to what the program prints (the tests hold it against that).

The program takes ten seconds and more to start, and 1.4 GB; it is started early and kept for one corpus after another.
"""

from __future__ import annotations

import atexit
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from typing import IO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ResourceError
from harness.metrics import ptb
from harness.metrics.captions import check
from harness.metrics.java import command, installed, last_line

JAR = "meteor/meteor-1.5.jar"
COUNTS = 23  # what the program says of a caption
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # its parameters for English, tuned on WMT's rankings
STAGES = (1.0, 0.6, 0.8, 0.6)  # a match's worth: exact, by stem, by synonym, by paraphrase


def score(counts: ArrayLike) -> NDArray[np.float64]:
    """(..., 23) counts, of one caption or summed over many, weighted or not, to (...) METEOR, a fraction.

    In the program's order: words of the candidate and of the reference, and how many of each are function words; for
    each stage, content words matched in either and function words matched in either; chunks; words matched in either.
    """
    counts = np.asarray(counts, np.float64)
    words, function = counts[..., 0:2], counts[..., 2:4]
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 2, 2)  # stage, content or function, side
    worth = DELTA * stages[..., 0, :] + (1 - DELTA) * stages[..., 1, :]
    matched: NDArray[np.float64] = np.asarray(STAGES) @ worth  # (..., 2)
    weight = DELTA * (words - function) + (1 - DELTA) * function
    precision, recall = np.moveaxis(_over(matched, weight), -1, 0)
    mean = _over(np.ones_like(recall), _over(1 - ALPHA, precision) + _over(ALPHA, recall))
    mean = np.where((precision > 0) & (recall > 0), mean, 0.0)
    penalty = GAMMA * _over(counts[..., 20], counts[..., 21:23].mean(axis=-1)) ** BETA
    found: NDArray[np.float64] = mean * (1 - penalty)
    return found


def _over(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    """A quotient; 0 where there is nothing to divide by."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    found: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return found


class Meteor:
    """METEOR 1.5's program, kept for one corpus after another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Begins to load; does not wait.  ResourceError where there is no Java."""
        if self._process is not None:
            return
        jar = installed(JAR)
        call = command("-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        try:
            self._process = subprocess.Popen(
                call,
                cwd=jar.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for whoever started it, and they end it
            )
        except OSError as error:
            raise ResourceError(f"METEOR's program cannot be started: {call[0]}: {error.strerror}") from error

    def counts(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """(n, 23): what was counted for each caption, against the reference that it does best by.

        A caption that is its reference word for word has no chunk, and not one: that is how they are summed.
        ValueError as for `captions.mark`.  ResourceError where there is no Java, or the program stops; it is started
        again the next time.
        """
        check(candidates, references)
        wanted = map(" ".join, ptb.tokens(chain.from_iterable(references)))
        said = map(" ".join, ptb.tokens(candidates))
        self.start()
        try:
            lines = [
                self._ask("SCORE", *islice(wanted, len(theirs)), caption)
                for caption, theirs in zip(said, references, strict=True)
            ]
            found = np.array([list(map(float, line.split())) for line in lines]).reshape(len(candidates), COUNTS)
        except ValueError as error:
            self.close()
            raise ResourceError(f"METEOR answered something else than {COUNTS} counts: {error}") from None
        except BaseException:
            self.close()  # whatever is still on its way belongs to no later question
            raise
        matched = found[:, 4:20].reshape(-1, 8, 2).sum(axis=1)
        found[(matched == found[:, :2]).all(axis=1) & (found[:, 20] == 1), 20] = 0  # so the program sums them
        return found

    def close(self) -> None:
        """Ends the program; nothing happens where there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it has nothing to put away
        for pipe in (process.stdin, process.stdout, self._log):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()

    def _ask(self, *parts: str) -> str:
        """A question on a line, its parts apart; the answer's first line."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # its end is noticed where the answer is missing
                self._process.stdin.write(" ||| ".join(map(_apart, parts)) + "\n")
                self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process is not None and self._process.stdout is not None else ""
        if line:
            return line.strip()
        log = b""
        if self._log is not None:
            self._log.seek(0)
            log = self._log.read()
        raise ResourceError(f"METEOR stopped: {last_line(log)}")


@cache
def kept() -> Meteor:
    """One program for all that is marked by this process; it ends with it."""
    meteor = Meteor()
    atexit.register(meteor.close)
    return meteor


def _apart(text: str) -> str:
    """Without what METEOR sets the parts of a question apart by."""
    return text.replace("|||", "").replace("  ", " ")
