"""Frozen answers, queried again: does an answer change although the answers version is the same?

Questions of every kind about images of the embedded benchmark are answered in each of WAYS.  In float32 every token
must be equal, on any processor.  In bfloat16 and int8, other instruction sets round sums differently.  There a token
may differ at a near tie: after the same tokens, the log-probabilities of the two candidates differ by at most MARGIN on
this machine.  The tokens after a near tie belong to another text, and are not compared.
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
EACH = 3  # number of questions of each task
PROMISED = "answers as they were"


class Way(NamedTuple):
    """One way of querying: options of Florence-2; `packed` reads images from a packed store."""

    dtype: str
    beams: int
    fast_resize: bool = False
    packed: bool = False

    @property
    def name(self) -> str:
        """The name of its verdict."""
        extras = [word for word, on in (("fast resize", self.fast_resize), ("packed images", self.packed)) if on]
        return ", ".join([f"answers {self.dtype}", f"{self.beams} beam{'s' * (self.beams > 1)}", *extras])


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
    """One frozen answer: the tokens of each prompt, and the parsed value as it is stored."""

    way: str
    question: str  # kind, image and text
    tokens: list[list[int]]
    value: Any


def judged(path: Path, model: str) -> list[Verdict]:
    """A verdict for each of WAYS on the frozen answers of a model; `reason` is set only where an answer differs."""
    from harness.florence2.predictor import ANSWERS_VERSION

    try:
        head, frozen = _read(path)
    except DataError as error:
        return [Verdict(name, "broken", PROMISED, str(error), more="gate --freeze") for name in NAMES]
    if head["answers version"] != ANSWERS_VERSION:
        versions = f"version {ANSWERS_VERSION}, frozen is {head['answers version']}"
        return [Verdict(name, "broken", PROMISED, versions, more="gate --freeze") for name in NAMES]
    weights = _weights_of(model)
    if head.get("weights") != weights:
        other = f"{model} has weights {weights[:12]}, frozen is {str(head.get('weights'))[:12]}"
        return [Verdict(name, "broken", PROMISED, other, more="gate --freeze") for name in NAMES]
    return [_judged_way(way, model, [answer for answer in frozen if answer.way == way.name], head) for way in WAYS]


def queried_again(model: str) -> bytes:
    """The content of a new file of frozen answers, in every way; its first line says of what."""
    import torch

    from harness.florence2.predictor import ANSWERS_VERSION

    head = {
        "answers version": ANSWERS_VERSION,
        "model": model,
        "weights": _weights_of(model),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    lines = [head]
    for way in WAYS:
        for question, tokens, answer, _ in _queried(way, model):
            lines.append({"way": way.name, "question": _title(question), "tokens": tokens, "value": _stored(answer)})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _weights_of(model: str) -> str:
    """The sha256 of the weights of a Florence-2 model."""
    predictor: Any = baselines.find(model).load(Setting(device="cpu"))
    return str(predictor.sha256)


def _read(path: Path) -> tuple[dict[str, Any], list[Frozen]]:
    """The first line and the answers of a file; DataError where the file is missing or malformed."""
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return head, [Frozen(line["way"], line["question"], line["tokens"], line["value"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no frozen answers: {error!r}") from error


def _judged_way(way: Way, model: str, frozen: Sequence[Frozen], head: Mapping[str, Any]) -> Verdict:
    """The verdict on one way: broken at the first answer that differs for another reason than a near tie."""
    by_question = {answer.question: answer for answer in frozen}
    queried, near_ties = 0, 0
    for question, tokens, answer, predictor in _queried(way, model):
        title = _title(question)
        if title not in by_question:
            return Verdict(way.name, "broken", PROMISED, f"{title} is not frozen", more="gate --freeze")
        queried += 1
        change, ties = _change(way, predictor, question, by_question[title], tokens, answer)
        if change:
            reason = (
                f"answers changed: raise ANSWERS_VERSION, then gate --freeze (frozen with {head['instruction set']})"
            )
            return Verdict(way.name, "broken", PROMISED, f"{title}: {change}", reason)
        near_ties += ties
    if queried < len(by_question):
        removed = f"{len(by_question) - queried} of {len(by_question)} frozen questions are not queried any more"
        return Verdict(way.name, "broken", PROMISED, removed, more="gate --freeze")
    near = f", {near_ties} with a near tie that another instruction set decides differently" if near_ties else ""
    return Verdict(way.name, "kept", PROMISED, f"{queried} answers the same{near}")


def _change(
    way: Way, predictor: Predictor, question: Question, frozen: Frozen, tokens: Sequence[Sequence[int]], answer: Answer
) -> tuple[str, int]:
    """The first difference of an answer from its frozen one ("" for none), and the number of near ties before it."""
    ties = 0
    for prompt, (old, new) in enumerate(zip(frozen.tokens, tokens, strict=True)):
        if old == new:
            continue
        place = _first_difference(old, new)
        gap = None if way.dtype == "float32" else _gap(predictor, question, prompt, old, new, place)
        if gap is not None and gap <= MARGIN:
            ties += 1
            continue
        far = "" if gap is None else f"; their log-probabilities differ by {gap:.3f}, more than {MARGIN}"
        return f"token {place} is {_word(predictor, new, place)}, was {_word(predictor, old, place)}{far}", ties
    if frozen.tokens == tokens and frozen.value != _stored(answer):
        return f"the same tokens are parsed into {_stored(answer)}, and were into {frozen.value}", ties
    return "", ties


def _queried(way: Way, model: str) -> Iterator[tuple[Question, list[list[int]], Answer, Predictor]]:
    """Each question with the tokens of each of its prompts, its answer, and the model.  DataError for a failure."""
    _, root = data_root("miniature", model, embedded=True)
    every = questions(root)
    with tempfile.TemporaryDirectory(prefix="frozen-") as folder:
        if way.packed:
            root = _packed(root, every, Path(folder))
        setting = Setting(root=root, dtype=way.dtype, device="cpu", batch_size=8)
        options = {"beams": way.beams, "fast_resize": way.fast_resize, "max_new_tokens": NEW_TOKENS}
        predictor: Any = baselines.find(model).load(setting, **options)
        tokens: dict[tuple[int, int], list[int]] = {}
        predictor.watch = lambda ticket, prompt, written: tokens.__setitem__((ticket, prompt), written.tokens)
        answers = dict(predictor.answer(enumerate(every)))
        for ticket, question in enumerate(every):
            answer = answers[ticket]
            if not isinstance(answer, Answer):
                raise DataError(f"{_title(question)}: {answer.reason}")
            yield question, [tokens[ticket, prompt] for prompt in range(len(answer.raw))], answer, predictor


def questions(root: Path) -> list[Question]:
    """Questions of every kind: the first of each task, then the kinds that no task has, about two images."""
    from harness.florence2.prompts import FORMS

    of_tasks: list[Question] = []
    for name in ("coco_caption", "coco_detection", "flickr30k", "odinw_miniature", "refcoco", "refcoco_res", "textvqa"):
        [task] = tasks.select(name)
        of_tasks += [sample.question for sample in load(task, root, task.splits[0])[:EACH]]
    kinds = {question.kind for question in of_tasks}
    of_no_task = [
        Question(question.image, question.size, kind, region=_middle(question.size))
        for question in of_tasks[:2]
        for kind in FORMS
        if kind not in kinds
    ]
    return of_tasks + of_no_task


def _middle(size: Size | None) -> Box | None:
    """The box of half the width and half the height in the centre of an image, in pixels."""
    if size is None:
        return None
    return (size.width / 4, size.height / 4, 3 * size.width / 4, 3 * size.height / 4)


def _packed(root: Path, every: Sequence[Question], folder: Path) -> Path:
    """A data root in `folder` with the images of these questions, in packed stores only."""
    from harness.data import pack

    names = list(dict.fromkeys(question.image_name for question in every))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    folders = dict.fromkeys(name.rpartition("/")[0] for name in names)
    for image_folder, images in pack.by_folder(dict.fromkeys(names), folders).items():
        pack.pack(folder, images, folder=image_folder)
        shutil.rmtree(folder / image_folder)
    return folder


def _gap(
    predictor: Predictor, question: Question, prompt: int, old: Sequence[int], new: Sequence[int], place: int
) -> float:
    """The absolute difference of the log-probabilities of two tokens at a place, after the same tokens before it.

    `prompt` is the number of the question's prompt.  Computed on this machine by the plain network, without a cache.
    """
    import torch

    from harness.florence2 import prompts
    from harness.images import open_rgb

    model = predictor.model
    image = open_rgb(predictor.root, question.image)
    text = prompts.prompts_of(question, predictor.forms[question.kind])[prompt]
    with torch.inference_mode():
        pixels = predictor.preprocess.normalise(predictor.preprocess.resize(image)[None], model.vision.dtype)
        memory = model.encode(model.encode_image(pixels), torch.tensor([predictor.tokenizer.encode(text)]))
        tokens = torch.tensor([[predictor.decoding.start, *old[:place]]])
        log_probabilities = model.lm_head(model.decode(tokens, memory))[0, -1].float().log_softmax(-1)
    end = predictor.decoding.end
    old_token, new_token = (int(side[place]) if place < len(side) else end for side in (old, new))
    return float((log_probabilities[old_token] - log_probabilities[new_token]).abs())


def _first_difference(old: Sequence[int], new: Sequence[int]) -> int:
    """The first place where two token sequences differ; the shorter length where one begins the other."""
    return next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _word(predictor: Predictor, tokens: Sequence[int], place: int) -> str:
    """The token at a place as text, for messages; "nothing" after the end."""
    return repr(predictor.tokenizer.backend.id_to_token(tokens[place])) if place < len(tokens) else "nothing"


def _title(question: Question) -> str:
    """The name of a question in the file and in messages: kind, image and text."""
    phrases = f" ({len(question.phrases)} phrases)" if question.phrases else ""
    return f"{question.kind} {question.image_name} {question.text}{phrases}".strip()


def _stored(answer: Answer) -> Any:
    """The parsed value without its probabilities, which other instruction sets round differently."""
    value = store.encoded(answer.value)
    kept = None if value is None else {k: v for k, v in value.items() if k not in ("region_scores", "label_scores")}
    return json.loads(json.dumps(kept))  # tuples become lists, as in a file
