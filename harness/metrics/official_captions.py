"""Caption scores from pycocoevalcap's own programs: what `harness.metrics.captions` is held against, and SPICE.

    mark(candidates, references)                 CIDEr, BLEU and ROUGE-L
    spice(candidates, references)

Needs Java (`harness.metrics.java`).  SPICE (Anderson et al., ECCV 2016) needs Stanford's models, which no Python
package has; its call is as published, and has not been held against published numbers here.

The official tokeniser is put out of step by a line break within a caption, so every one is brought onto one line first.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from harness.errors import DataError, ResourceError
from harness.metrics import ptb
from harness.metrics.captions import CaptionScores, check
from harness.metrics.cider import Floats
from harness.metrics.java import command, installed, last_line

PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
SPICE_JAR = "spice/spice-1.0.jar"
SPICE_MODELS = "spice/lib/stanford-corenlp-3.6.0-models.jar"
# FST, which SPICE keeps its parses with, looks into these; from Java 16 on it has to be let.
OPENED = (
    *(f"base/java.{name}" for name in ("lang", "util", "math", "text", "util.concurrent", "net", "io")),
    "sql/java.sql",
)
OPENS = tuple(f"--add-opens=java.{name}=ALL-UNNAMED" for name in OPENED)


def tokens(captions: Sequence[str]) -> list[list[str]]:
    """Each caption's tokens, from Stanford's tokeniser.  ResourceError where there is no Java."""
    text = "\n".join(map(ptb.clean, captions)).encode("utf-8", "replace")
    call = command("-cp", str(installed(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer")
    done = subprocess.run([*call, "-preserveLines", "-lowerCase"], input=text, capture_output=True, check=False)
    if done.returncode:
        raise ResourceError(f"Stanford's tokeniser stopped: {last_line(done.stderr)}")
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

    said, wanted = tokenised(candidates, references)
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


def require_spice() -> None:
    """ResourceError where there is no Java, or Stanford's models are not where pycocoevalcap looks for them."""
    command()
    models = installed(SPICE_MODELS)
    if not models.is_file():
        raise ResourceError(
            f"SPICE needs Stanford's models: put stanford-corenlp-3.6.0.jar and {models.name} into {models.parent}"
        )


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """(n,): SPICE's F of each caption, a fraction; NaN where the program gives none.  ResourceError as above."""
    require_spice()
    jar = installed(SPICE_JAR)
    said, wanted = tokenised(candidates, references)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = [{"image_id": place, "test": said[place][0], "refs": wanted[place]} for place in said]
        (folder / "in.json").write_text(json.dumps(asked), encoding="utf-8")
        (folder / "cache").mkdir()
        files = (str(folder / "in.json"), "-cache", str(folder / "cache"), "-out", str(folder / "out.json"))
        call = command(*OPENS, "-Xmx8G", "-jar", str(jar), *files, "-subset", "-silent")
        done = subprocess.run(call, cwd=jar.parent, capture_output=True, check=False)
        if done.returncode:
            raise ResourceError(f"SPICE stopped: {last_line(done.stderr)}")
        found = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    by_image = {one["image_id"]: one["scores"]["All"]["f"] for one in found}
    return np.array([math.nan if by_image[place] is None else float(by_image[place]) for place in said])


def tokenised(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Captions as pycocoevalcap's scorers take them: tokenised, by image."""
    check(candidates, references)
    lines = map(" ".join, tokens(list(chain.from_iterable(references))))
    wanted = {place: list(islice(lines, len(captions))) for place, captions in enumerate(references)}
    return {place: [" ".join(found)] for place, found in enumerate(tokens(candidates))}, wanted
