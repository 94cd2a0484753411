"""Makes a Model from a family of models that write text: prompts in, parsed values out.

A `Family` states how its models are asked and how their output is read.  Each rival is one file with one family.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from baselines.batched import Batched
from baselines.entry import Setting
from baselines.pretrained import LoadOptions, Pretrained
from baselines.pretrained import refuse as refuse_loading
from harness.core import Answer, Failure, Kind, Question, Size, Value
from harness.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

WINDOW = 4  # batches whose prompts are sorted by key together
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(LoadOptions):
    """The options of models that write text.  None leaves the choice to the authors' evaluation of each kind."""

    beams: int | None = None
    "Beams of the search; 1 is greedy search [default: as the authors evaluate the kind of question]"
    max_new_tokens: int | None = None
    "Maximum length of an answer in tokens; a longer answer is cut and counts as truncated"


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for one prompt.

    - `text` is the output without the prompt, as `Family.decode` gives it.
    - `ids` are the tokens written, to the end of the sequence; `log_probabilities` are theirs, where the family asks
      for them (`scored`), else empty.
    - `truncated`: the output stops at the limit of its length.
    """

    text: str
    ids: tuple[int, ...]
    truncated: bool
    log_probabilities: tuple[float, ...] = ()


class Family(Protocol):
    """How a family of models is asked, and how its output is read."""

    kinds: frozenset[Kind]
    version: int  # raised whenever an answer could change: a prompt, a setting, the parsing
    scored: bool  # whether `value` needs the log-probabilities of the tokens
    identity: str  # what else decides an answer, such as a resolution; "" if nothing

    def prompts(self, question: Question) -> Sequence[str]:
        """The prompts of a question, in the authors' words; several where one question takes several.

        `question.size` is that of the opened image.  DataError for a question that has no prompt.
        """
        ...

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """The settings of transformers' `generate` by which the authors evaluate this kind; sampling is always off."""
        ...

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """Prompts of one batch have equal keys."""
        ...

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The tensors that `generate` takes, on the CPU, for a batch of images and one prompt for each."""
        ...

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """How many tokens `generate` returns before the output: those of the prompt, or the start of a decoder."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an output, with the tokens that carry coordinates."""
        ...

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The value of a question from the outputs of its prompts; None where they do not have the form of its kind.

        `size` is that of the original image; the value is in its pixels.
        """
        ...


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt of the question at `place` of a window, with the image that it is about, and those `before` it."""

    place: int
    image: Image.Image
    text: str
    kind: Kind
    before: tuple[Image.Image, ...] = ()


class Generative(Batched):
    """A Model (see `core`) from a loaded checkpoint and its family."""

    def __init__(self, family: Family, loaded: Pretrained, setting: Setting, options: Options) -> None:
        self.family = family
        self.loaded = loaded
        self._batch = setting.batch_size or default_batch(loaded)
        tokens = _tokens(loaded.model)
        self._configs = {kind: _generation(tokens, family, kind, options) for kind in sorted(family.kinds)}
        stated = _stated_once(self._configs)
        fingerprint = f"{type(family).__name__} v{family.version}:{loaded.identity}:{stated}:{family.identity}"
        super().__init__(fingerprint, self._answers, setting, batch_size=WINDOW * self._batch)
        self.batch_size = WINDOW * self._batch
        self.provenance = {**loaded.provenance, "batch size": self._batch}

    def _answers(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> Sequence[Answer | Failure]:
        """The answers of a window of questions; a Failure for a question that has no prompt."""
        pending: list[Prompted] = []
        refused: dict[int, Failure] = {}
        for place, (image, question) in enumerate(zip(images, questions, strict=True)):
            try:
                pending += self._prompted(place, image, question)
            except DataError as error:
                refused[place] = Failure(str(error))
        written: list[dict[int, Written]] = [{} for _ in questions]
        seconds = [0.0] * len(questions)
        beside = [1] * len(questions)
        for batch in self._batches(pending):
            start = time.perf_counter()
            outputs = self._written([pending[place] for place in batch])
            taken = time.perf_counter() - start
            for place, (output, count) in zip(batch, outputs, strict=True):
                of = pending[place].place
                written[of][place] = output
                seconds[of] += taken
                beside[of] = max(beside[of], count)
        return [
            refused.get(place)
            or _as_answer(
                self.family,
                question,
                Size(*images[place].size),
                [written[place][number] for number in sorted(written[place])],
                [pending[number].text for number in sorted(written[place])],
                seconds[place],
                beside[place],
            )
            for place, question in enumerate(questions)
        ]

    def _prompted(self, place: int, image: Image.Image, question: Question) -> list[Prompted]:
        """The prompts of the question at `place` of a window; DataError where it has none."""
        texts = self.family.prompts(replace(question, size=Size(*image.size)))
        if not texts:
            raise DataError(f"a {question.kind!r} question without phrases has no prompt")
        return [Prompted(place, image, text, question.kind) for text in texts]

    def _inputs(self, prompts: Sequence[Prompted]) -> Mapping[str, Any]:
        """The tensors of a batch, on the CPU."""
        return self.family.inputs([prompt.image for prompt in prompts], [prompt.text for prompt in prompts])

    def _batches(self, pending: Sequence[Prompted]) -> Iterator[list[int]]:
        """The places of the prompts of each batch: equal settings and equal keys."""
        groups: dict[Hashable, list[int]] = {}
        for place, prompt in enumerate(pending):
            key = (_stated_text(self._configs[prompt.kind]), self.family.key(prompt.image, prompt.text))
            groups.setdefault(key, []).append(place)
        for group in groups.values():
            for begin in range(0, len(group), self._batch):
                yield group[begin : begin + self._batch]

    def _written(self, prompts: Sequence[Prompted]) -> list[tuple[Written, int]]:
        """The outputs of a batch, each with how many were generated together.

        A batch that is too large for the memory is halved, and later ones are as small.
        """
        import torch

        try:
            return [(output, len(prompts)) for output in self._generated(prompts)]
        except torch.OutOfMemoryError:
            if len(prompts) == 1:
                raise
            half = len(prompts) // 2
            self._batch = min(self._batch, half)
            log.warning("%d prompts at once are too many for the memory; going on with %d", len(prompts), half)
        torch.cuda.empty_cache()
        return [*self._written(prompts[:half]), *self._written(prompts[half:])]

    def _generated(self, prompts: Sequence[Prompted]) -> list[Written]:
        import torch

        config = self._configs[prompts[0].kind]
        inputs = self._inputs(prompts)
        placed = {name: self._placed(tensor) for name, tensor in inputs.items()}
        with torch.inference_mode():
            output = self.loaded.model.generate(**placed, generation_config=config)
            begin = self.family.begin(inputs)
            probabilities = _log_probabilities(output, begin) if self.family.scored else None
        ends = _ends(config)
        results = []
        for row, ids in enumerate(output.sequences.tolist()):
            mine = _until_end(ids[begin:], ends)
            text = self.family.decode(mine)
            forced = config.forced_eos_token_id is not None  # then the last place always has an end token
            truncated = len(mine) >= config.max_new_tokens and (forced or mine[-1] not in ends)
            logs = tuple(probabilities[row][: len(mine)]) if probabilities else ()
            results.append(Written(text, tuple(mine), truncated, logs))
        return results

    def _placed(self, tensor: Any) -> Any:
        """The tensor on the model's device, and in its precision if it is of floats."""
        return tensor.to(self.loaded.device, self.loaded.dtype if tensor.is_floating_point() else None)


def default_batch(loaded: Pretrained) -> int:
    """How many prompts are generated together where the setting does not say."""
    return 16 if str(loaded.device).startswith("cuda") else 4


def refuse(setting: Setting, options: Options) -> None:
    """UsageError or ResourceError for settings that cannot work, before anything is loaded."""
    refuse_loading(setting, options)
    for option, value in (("--beams", options.beams), ("--max-new-tokens", options.max_new_tokens)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: at least 1")


def without_tokens(text: str, tokenizer: Any) -> str:
    """A text of the data without the special tokens of a tokenizer, such as `<image>`, which a model would obey."""
    for token in sorted(tokenizer.get_added_vocab(), key=len, reverse=True):
        text = text.replace(token, " ")
    return text


def _as_answer(
    family: Family,
    question: Question,
    size: Size,
    written: Sequence[Written],
    prompts: Sequence[str],
    seconds: float,
    batch: int,
) -> Answer:
    return Answer(
        tuple(output.text for output in written),
        family.value(question, written, size),
        tokens=sum(len(output.ids) for output in written),
        truncated=any(output.truncated for output in written),
        seconds=seconds,
        batch=batch,
        prompts=tuple(prompts),
    )


def _log_probabilities(output: Any, begin: int) -> list[list[float]]:
    """The log-probability of each token after the first `begin` ones, a list for each sequence.

    They are the model's: what the settings exclude, such as repeated n-grams, is not normalised away.  In beam search
    transformers' scores are log-probabilities already; in greedy search they are taken from the logits.
    """
    import torch

    tokens, beams = output.sequences[:, begin:], getattr(output, "beam_indices", None)
    columns = []
    for step in range(tokens.shape[1]):
        chosen = tokens[:, step]
        if beams is None:
            columns.append(output.logits[step].log_softmax(-1).gather(1, chosen[:, None])[:, 0])
        else:  # a row that has ended has beam -1; its values are not read
            columns.append(output.scores[step][beams[:, step].clamp(min=0), chosen])
    return torch.stack(columns, dim=1).tolist()


def _tokens(model: Any) -> dict[str, Any]:
    """The special tokens by which a model writes.  Everything else in its shipped GenerationConfig is removed from it.

    transformers fills what a GenerationConfig leaves open with the shipped values, and checkpoints ship settings for
    chat (sampling, a repetition penalty), which are not those of an evaluation.
    """
    from transformers import GenerationConfig

    writers = [part for part in model.modules() if getattr(part, "generation_config", None) is not None]
    tokens: dict[str, Any] = {}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"):
        stated = (getattr(writer.generation_config, name) for writer in writers)
        tokens[name] = next((value for value in stated if value is not None), None)
    for writer in writers:
        writer.generation_config = GenerationConfig(**tokens)
    return tokens


def _generation(tokens: Mapping[str, Any], family: Family, kind: Kind, options: Options) -> Any:
    """The GenerationConfig of a kind: the family's settings and the user's options; sampling is off."""
    from transformers import GenerationConfig

    chosen = {**tokens, **family.settings(kind), "do_sample": False}
    chosen["return_dict_in_generate"] = True
    if options.beams is not None:
        chosen["num_beams"] = options.beams
    if options.max_new_tokens is not None:
        chosen["max_new_tokens"] = options.max_new_tokens
        chosen["min_new_tokens"] = min(chosen.get("min_new_tokens", 0), options.max_new_tokens)
    greedy = chosen.get("num_beams", 1) == 1
    chosen["output_logits" if greedy else "output_scores"] = family.scored
    if greedy:
        for name in ("length_penalty", "early_stopping"):
            chosen.pop(name, None)
    if chosen["pad_token_id"] is None:
        ends = chosen["eos_token_id"]
        chosen["pad_token_id"] = ends[0] if isinstance(ends, list) else ends
    return GenerationConfig(**chosen)


def _ends(config: Any) -> frozenset[int]:
    ends = config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _until_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    """The tokens up to and with the first end token."""
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids


def _stated(config: Any) -> dict[str, Any]:
    """The settings of a GenerationConfig that differ from transformers' defaults, without its version."""
    left_out = ("transformers_version", "_from_model_config", "return_dict_in_generate")
    return {name: value for name, value in config.to_diff_dict().items() if name not in left_out}


def _stated_once(configs: Mapping[Kind, Any]) -> str:
    """The settings of all kinds; kinds with equal settings are named together."""
    kinds: dict[str, list[str]] = {}
    for kind, config in configs.items():
        kinds.setdefault(_stated_text(config), []).append(kind)
    return "; ".join(f"{' '.join(names)} {text}" for text, names in kinds.items())


def _stated_text(config: Any) -> str:
    return json.dumps(_stated(config), sort_keys=True)
