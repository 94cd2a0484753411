"""Caption scores by pycocoevalcap's own programs: the reference for `harness.metrics.captions`, and SPICE.

    mark(candidates, references)                 CIDEr, BLEU and ROUGE-L
    spice(candidates, references)

All of them need Java (`harness.metrics.java`).  SPICE (Anderson et al., ECCV 2016) also needs Stanford's models, which
no Python package contains.  It is called as pycocoevalcap calls it; the project has not compared its scores with
published numbers.

Line breaks within a caption become spaces first, since the official tokeniser would count them as ends of captions.
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
# SPICE caches its parses with FST, which reads these packages by reflection; Java 16 and later need an option for that.
OPENED = (
    *(f"base/java.{name}" for name in ("lang", "util", "math", "text", "util.concurrent", "net", "io")),
    "sql/java.sql",
)
OPENS = tuple(f"--add-opens=java.{name}=ALL-UNNAMED" for name in OPENED)


def tokens(captions: Sequence[str]) -> list[list[str]]:
    """The tokens of each caption, by Stanford's tokeniser.

    ResourceError where there is no Java or the program fails; DataError where the number of lines that the program
    returns is not the number of captions.
    """
    text = "\n".join(map(ptb.clean, captions)).encode("utf-8", "replace")
    call = command("-cp", str(installed(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer")
    done = subprocess.run([*call, "-preserveLines", "-lowerCase"], input=text, capture_output=True, check=False)
    if done.returncode:
        raise ResourceError(f"Stanford's tokeniser failed: {last_line(done.stderr)}")
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) != max(len(captions), 1):
        raise DataError(
            f"Stanford's tokeniser returned {len(lines)} lines for {len(captions)} captions; "
            "an SGML tag may span two captions"
        )
    kept = [[token for token in line.rstrip().split(" ") if token not in ptb.PUNCTUATION] for line in lines]
    return [[token for token in line if token] for line in kept[: len(captions)]]


def mark(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """`captions.mark` by the official tokeniser and scorers.

    ResourceError and DataError as for `tokens`; ValueError as for `captions.mark`.
    """
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidate_lines, reference_lines = tokenised(candidates, references)
    bleu = BleuScorer(n=4)
    for place, lines in candidate_lines.items():
        bleu += (lines[0], reference_lines[place])
    counts = bleu.ctest
    lengths = [count["testlen"] for count in counts]
    closest = [bleu._single_reflen(count["reflen"], "closest", count["testlen"]) for count in counts]
    images = len(candidate_lines)
    words = any(line.split() for line in chain.from_iterable(reference_lines.values()))
    # The official code fails where no reference has a word.
    cider = Cider().compute_score(reference_lines, candidate_lines)[1] if images > 1 and words else np.zeros(images)
    return CaptionScores(
        cider=cider if images > 1 else np.full(images, np.nan),
        rouge_l=Rouge().compute_score(reference_lines, candidate_lines)[1],
        correct=np.array([count["correct"] for count in counts]),
        guessed=np.array([count["guess"] for count in counts]),
        length=np.array(lengths),
        reference_length=np.array(closest),
    )


def require_spice() -> None:
    """ResourceError where there is no Java, or Stanford's models are not in pycocoevalcap's folder."""
    command()
    models = installed(SPICE_MODELS)
    if not models.is_file():
        raise ResourceError(
            f"SPICE needs Stanford's models: put stanford-corenlp-3.6.0.jar and {models.name} into {models.parent}"
        )


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """(n,): SPICE's F1 of each caption, 0 to 1; NaN where the program returns none.

    ResourceError as for `require_spice`, or where the program fails.
    """
    require_spice()
    jar = installed(SPICE_JAR)
    candidate_lines, reference_lines = tokenised(candidates, references)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = [
            {"image_id": place, "test": lines[0], "refs": reference_lines[place]}
            for place, lines in candidate_lines.items()
        ]
        (folder / "in.json").write_text(json.dumps(captions), encoding="utf-8")
        (folder / "cache").mkdir()
        files = (str(folder / "in.json"), "-cache", str(folder / "cache"), "-out", str(folder / "out.json"))
        call = command(*OPENS, "-Xmx8G", "-jar", str(jar), *files, "-subset", "-silent")
        done = subprocess.run(call, cwd=jar.parent, capture_output=True, check=False)
        if done.returncode:
            raise ResourceError(f"SPICE failed: {last_line(done.stderr)}")
        results = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    by_image = {result["image_id"]: result["scores"]["All"]["f"] for result in results}
    return np.array([math.nan if by_image[place] is None else float(by_image[place]) for place in candidate_lines])


def tokenised(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Candidates and references in the form of pycocoevalcap's scorers: tokenised lines by image number."""
    check(candidates, references)
    lines = map(" ".join, tokens(list(chain.from_iterable(references))))
    by_image = {place: list(islice(lines, len(captions))) for place, captions in enumerate(references)}
    return {place: [" ".join(caption)] for place, caption in enumerate(tokens(candidates))}, by_image
