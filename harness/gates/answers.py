"""Frozen answers, queried again: whether an answer changed while the answers version stayed.

Questions of every kind about images of the embedded benchmark are answered in each of WAYS.  In float32 every token
must be as it was, on any processor.  In bfloat16 and int8, whose sums are rounded differently by other instruction
sets, a token may differ where the two candidates of its step were nearly as likely: by at most MARGIN in
log-probability, as this machine computes them after the same tokens.  What follows such a token is another text, and is
not compared.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import baselines
import tasks
from baselines import Setting
from harness import store
from harness.core import Answer, Box, Question, Size
from harness.errors import DataError
from harness.evaluation.plan import data_root, load
from harness.gates.verdicts import Verdict

if TYPE_CHECKING:
    from harness.florence2.predictor import Predictor

FILE = "answers.jsonl"
MARGIN = 0.25  # in log-probability
NEW_TOKENS = 48
EACH = 3  # questions of every task
PROMISED = "answers as they were"


class Way(NamedTuple):
    """One way of querying: `beams` and `fast_resize` are options of Florence-2; `packed` reads images from a store."""

    dtype: str
    beams: int
    fast_resize: bool = False
    packed: bool = False

    @property
    def name(self) -> str:
        """As verdicts call it."""
        more = [word for word, on in (("fast resize", self.fast_resize), ("packed images", self.packed)) if on]
        return ", ".join([f"answers {self.dtype}", f"{self.beams} beam{'s' * (self.beams > 1)}", *more])


WAYS = (
    Way("float32", 3),
    Way("float32", 1, packed=True),
    Way("float32", 1, fast_resize=True),
    Way("bfloat16", 1),
    Way("int8", 1),
)
NAMES = tuple(way.name for way in WAYS)


@dataclass(frozen=True, slots=True)
class Frozen:
    """One answer: the tokens of each prompt, and the parsed value as it is stored."""

    way: str
    question: str  # kind, image and text, for people
    tokens: list[list[int]]
    value: Any


def judged(path: Path, model: str) -> list[Verdict]:
    """A verdict for each of WAYS on the frozen answers of a model; `chance` is set where an answer itself differs."""
    from harness.florence2.predictor import ANSWERS_VERSION

    try:
        head, kept = _read(path)
    except DataError as error:
        return [Verdict(name, "broken", PROMISED, str(error), more="gate --freeze") for name in NAMES]
    if head["answers version"] != ANSWERS_VERSION:
        came = f"version {ANSWERS_VERSION}, frozen is {head['answers version']}"
        return [Verdict(name, "broken", PROMISED, came, more="gate --freeze") for name in NAMES]
    return [_one_way(way, model, [one for one in kept if one.way == way.name], head) for way in WAYS]


def queried_again(model: str) -> bytes:
    """Queries in every way: the answers as a file, with the instruction set that made them."""
    import torch

    from harness.florence2.predictor import ANSWERS_VERSION

    head = {
        "answers version": ANSWERS_VERSION,
        "model": model,
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    lines = [head]
    for way in WAYS:
        for question, tokens, answer, _ in _queried(way, model):
            lines.append({"way": way.name, "question": _title(question), "tokens": tokens, "value": _stored(answer)})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _read(path: Path) -> tuple[dict[str, Any], list[Frozen]]:
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return head, [Frozen(one["way"], one["question"], one["tokens"], one["value"]) for one in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no frozen answers: {error!r}") from error


def _one_way(way: Way, model: str, kept: Sequence[Frozen], head: Mapping[str, Any]) -> Verdict:
    """The first answer that differs for a reason other than a near tie; kept where there is none."""
    before = {one.question: one for one in kept}
    asked, ties = 0, 0
    for question, tokens, answer, predictor in _queried(way, model):
        title = _title(question)
        if title not in before:
            return Verdict(way.name, "broken", PROMISED, f"{title} is not among them", more="gate --freeze")
        asked += 1
        frozen = before[title]
        came = ""
        for number, (old, new) in enumerate(zip(frozen.tokens, tokens, strict=True)):
            if old == new:
                continue
            place = _first_difference(old, new)
            gap = None if way.dtype == "float32" else _gap(predictor, question, number, old, new, place)
            if gap is not None and gap <= MARGIN:
                ties += 1
                continue
            came = f"{title}: token {place} is {_word(predictor, new, place)}, was {_word(predictor, old, place)}"
            came += "" if gap is None else f"; their log-probabilities differ by {gap:.3f}, more than {MARGIN}"
        if not came and frozen.tokens == tokens and frozen.value != _stored(answer):
            came = f"{title}: the same tokens are parsed into {_stored(answer)}, and were into {frozen.value}"
        if came:
            why = f"answers changed: raise ANSWERS_VERSION, then gate --freeze (frozen with {head['instruction set']})"
            return Verdict(way.name, "broken", PROMISED, came, why)
    if asked < len(before):
        gone = f"{len(before) - asked} of {len(before)} questions are not asked any more"
        return Verdict(way.name, "broken", PROMISED, gone, more="gate --freeze")
    near = f", {ties} with a near tie that another instruction set decides differently" if ties else ""
    return Verdict(way.name, "kept", PROMISED, f"{asked} answers the same{near}")


def _queried(way: Way, model: str) -> Iterator[tuple[Question, list[list[int]], Answer, Predictor]]:
    """Every question with the tokens of each of its prompts, its answer, and the model that gave it."""
    _, root = data_root("miniature", model, embedded=True)
    asked = questions(root)
    with tempfile.TemporaryDirectory(prefix="frozen-") as folder:
        if way.packed:
            root = _packed(root, asked, Path(folder))
        setting = Setting(root=root, dtype=way.dtype, device="cpu", batch_size=8)
        options = {"beams": way.beams, "fast_resize": way.fast_resize, "max_new_tokens": NEW_TOKENS}
        predictor: Any = baselines.find(model).load(setting, **options)
        tokens: dict[tuple[int, int], list[int]] = {}
        predictor.watch = lambda ticket, number, written: tokens.__setitem__((ticket, number), list(written))
        answers = dict(predictor.answer(enumerate(asked)))
        for ticket, question in enumerate(asked):
            answer = answers[ticket]
            if not isinstance(answer, Answer):
                raise DataError(f"{_title(question)}: {answer.reason}")
            yield question, [tokens[ticket, number] for number in range(len(answer.raw))], answer, predictor


def questions(root: Path) -> list[Question]:
    """Questions of every kind: the first of every task, and the kinds that no task asks about two of their images."""
    from harness.florence2.prompts import FORMS

    found: list[Question] = []
    for name in ("coco_caption", "coco_detection", "flickr30k", "odinw_miniature", "refcoco", "refcoco_res", "textvqa"):
        [task] = tasks.select(name)
        found += [sample.question for sample in load(task, root, task.splits[0])[:EACH]]
    kinds = {question.kind for question in found}
    for question in found[:2]:
        found += [
            Question(question.image, question.size, kind, region=_middle(question.size))
            for kind in FORMS
            if kind not in kinds
        ]
    return found


def _middle(size: Size | None) -> Box | None:
    """The middle half of an image, each way."""
    if size is None:
        return None
    return (size.width / 4, size.height / 4, 3 * size.width / 4, 3 * size.height / 4)


def _packed(root: Path, asked: Sequence[Question], folder: Path) -> Path:
    """A data root that has the images of these questions in packed stores alone."""
    from harness.data import pack

    names = list(dict.fromkeys(question.image_name for question in asked))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    folders = dict.fromkeys(name.rpartition("/")[0] for name in names)
    for home, theirs in pack.by_folder(dict.fromkeys(names), folders).items():
        pack.pack(folder, theirs, folder=home)
        shutil.rmtree(folder / home)
    return folder


def _gap(
    predictor: Predictor, question: Question, number: int, old: Sequence[int], new: Sequence[int], place: int
) -> float:
    """The difference of two candidates' log-probabilities after the tokens before them, as computed here."""
    import torch

    from harness.florence2 import prompts
    from harness.images import open_rgb

    picture = open_rgb(predictor.root, question.image)
    text = prompts.prompts_of(question, predictor.forms[question.kind])[number]
    with torch.inference_mode():
        pixels = predictor.preprocess.normalise(
            predictor.preprocess.resize(picture)[None], predictor.model.vision.dtype
        )
        memory = predictor.model.read(predictor.model.look(pixels), torch.tensor([predictor.tokenizer.encode(text)]))
        given = torch.tensor([[predictor.decoding.start, *old[:place]]])
        scores = predictor.model.lm_head(predictor.model.write(given, memory))[0, -1].float().log_softmax(-1)
    end = predictor.decoding.end
    one, other = (int(side[place]) if place < len(side) else end for side in (old, new))
    return float((scores[one] - scores[other]).abs())


def _first_difference(old: Sequence[int], new: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _word(predictor: Predictor, tokens: Sequence[int], place: int) -> str:
    """A token as text, for people."""
    return repr(predictor.tokenizer.backend.id_to_token(tokens[place])) if place < len(tokens) else "nothing"


def _title(question: Question) -> str:
    phrases = f" ({len(question.phrases)} phrases)" if question.phrases else ""
    return f"{question.kind} {question.image_name} {question.text}{phrases}".strip()


def _stored(answer: Answer) -> Any:
    """The parsed value without its probabilities, which are rounded differently by other instruction sets."""
    value = store.encoded(answer.value)
    kept = None if value is None else {k: v for k, v in value.items() if k not in ("region_scores", "label_scores")}
    return json.loads(json.dumps(kept))  # lists, as they are read back
