"""METEOR 1.5 of captions: the official program counts matched words, and `score` computes METEOR from the counts.

    program = kept()                                   one program for this process, closed at exit
    program.start()                                    loads in the background
    counts = program.counts(candidates, references)    (n, 23), one row for each caption
    score(counts.sum(axis=0))                          METEOR of the corpus
    score(counts)                                      METEOR of each caption

Denkowski and Lavie, WMT 2014, called as pycocoevalcap 1.2 calls it: English, `-norm`, on Penn Treebank tokens.  The
corpus score is that of the summed counts, not the mean over captions.  `score` also accepts sums under other weights of
the images, which the program does not.  It equals the scores that the program prints, which the tests check.

The program loads for more than ten seconds and takes 1.4 GB, so it is started early and used for many corpora.
"""

from __future__ import annotations

import atexit
import os
import signal
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
COUNTS = 23  # that the program returns for a caption
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # the program's parameters for English, tuned on WMT rankings
STAGES = (1.0, 0.6, 0.8, 0.6)  # weight of a match: exact, by stem, by synonym, by paraphrase


def score(counts: ArrayLike) -> NDArray[np.float64]:
    """(..., 23) counts of one caption, or sums over captions, weighted or not, to (...) METEOR, 0 to 1.

    The counts are in the program's order.  First the words of the candidate and of the reference, then the function
    words of each.  For each of the four stages follow the matched content words of candidate and reference, and the
    matched function words of each.  The last three are the chunks and the matched words of each.
    """
    counts = np.asarray(counts, np.float64)
    words, function = counts[..., 0:2], counts[..., 2:4]
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 2, 2)  # stage, content or function, side
    weighted = DELTA * stages[..., 0, :] + (1 - DELTA) * stages[..., 1, :]
    matched: NDArray[np.float64] = np.asarray(STAGES) @ weighted  # (..., 2)
    total = DELTA * (words - function) + (1 - DELTA) * function
    precision, recall = np.moveaxis(_quotient(matched, total), -1, 0)
    mean = _quotient(np.ones_like(recall), _quotient(1 - ALPHA, precision) + _quotient(ALPHA, recall))
    mean = np.where((precision > 0) & (recall > 0), mean, 0.0)
    penalty = GAMMA * _quotient(counts[..., 20], counts[..., 21:23].mean(axis=-1)) ** BETA
    scores: NDArray[np.float64] = mean * (1 - penalty)
    return scores


def _quotient(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    """`above / below`; 0 where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    quotient: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient


class Meteor:
    """The METEOR 1.5 program, used for one corpus after another.  `close` ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Starts the program and does not wait until it is loaded; does nothing where it runs.

        ResourceError where there is no Java or the program cannot be started.
        """
        if self._process is not None:
            return
        jar = installed(JAR)
        call = command("-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        try:
            self._process = subprocess.Popen(
                call,
                cwd=jar.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C does not reach the program; this process closes it
            )
        except OSError as error:
            self.close()
            raise ResourceError(f"METEOR's program cannot be started: {call[0]}: {error.strerror}") from error

    def counts(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """(n, 23): the counts of each candidate, against the reference with the highest score.

        A candidate equal to its reference has 0 chunks instead of 1, as in the program's own sums.  ValueError as for
        `captions.mark`.  ResourceError where there is no Java or the program fails; the next call starts the program
        again.
        """
        check(candidates, references)
        reference_lines = map(" ".join, ptb.tokens(chain.from_iterable(references)))
        candidate_lines = map(" ".join, ptb.tokens(candidates))
        self.start()
        try:
            lines = [
                self._query("SCORE", *islice(reference_lines, len(captions)), candidate)
                for candidate, captions in zip(candidate_lines, references, strict=True)
            ]
            counts = np.array([list(map(float, line.split())) for line in lines]).reshape(len(candidates), COUNTS)
        except ValueError as error:
            self.close()
            raise ResourceError(f"METEOR returned something other than {COUNTS} counts: {error}") from None
        except BaseException:
            self.close()  # otherwise the next query would read the replies to these
            raise
        matched = counts[:, 4:20].reshape(-1, 8, 2).sum(axis=1)
        counts[(matched == counts[:, :2]).all(axis=1) & (counts[:, 20] == 1), 20] = 0
        return counts

    def close(self) -> None:
        """Ends the program, waits for its end and closes its pipes and log; does nothing where it does not run."""
        process, self._process = self._process, None
        log, self._log = self._log, None
        if process is not None:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its whole session: `java` may be a script
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()
        if log is not None:
            log.close()

    def _query(self, *parts: str) -> str:
        """The first line of the reply to a query, which is one line of parts."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # where the program has ended, `_reply` reports the reason
                self._process.stdin.write(" ||| ".join(map(_without_separator, parts)) + "\n")
                self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> str:
        """The next line of the program's output; ResourceError where the program has ended."""
        line = self._process.stdout.readline() if self._process is not None and self._process.stdout is not None else ""
        if line:
            return line.strip()
        log = b""
        if self._log is not None:
            self._log.seek(0)
            log = self._log.read()
        raise ResourceError(f"METEOR's program ended: {last_line(log)}")


@cache
def kept() -> Meteor:
    """The program that all scoring in this process shares; it is closed at exit, or by `release`."""
    meteor = Meteor()
    atexit.register(meteor.close)
    return meteor


def release() -> None:
    """Closes the program of `kept`; the next call of `kept` returns a new one."""
    if kept.cache_info().currsize:
        meteor = kept()
        meteor.close()
        atexit.unregister(meteor.close)
        kept.cache_clear()


def _without_separator(text: str) -> str:
    """The text without the characters that separate the parts of a query."""
    return text.replace("|||", "").replace("  ", " ")
