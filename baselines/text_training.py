"""Fine-tuning of models that write text: cross-entropy on the tokens of answers, by low-rank adapters or whole.

A family gives a `Writer`, which writes questions and answers as its model reads and writes them.  The loss is that of
Florence-2's training: the mean over the answer tokens of each task, weighted by the task's share of the prompts.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines import rival_training
from baselines.generative import Family
from baselines.peft_adapters import INSTALL_TRAIN
from baselines.pretrained import Checkpoint, Pretrained, pixel_settings
from baselines.rival_training import RivalLesson
from harness import images
from harness.core import Kind, Question, Sample, Size, Text, Value
from harness.errors import DataError, ResourceError, UsageError
from harness.training import network
from harness.training.history import TrainingRun, history_of
from harness.training.lessons import Batch, Loss, kind_weights
from harness.training.loop import Batches
from harness.training.mixture import Resizing
from harness.training.recipe import RivalRecipe
from harness.training.stores import Examples, values_of

NO_LABEL = -100  # transformers' mark of a token without a loss
ADAPTED = r".*language_model\..*\.(q|k|v|o|gate|up|down)_proj"  # the language model's linear maps


class Writer(Resizing, Protocol):
    """How a family's questions and answers are written: the inverse of `Family.value`."""

    @property
    def family(self) -> Family:
        """What gives the prompts, and reads answers."""
        ...

    @property
    def version(self) -> int:
        """A number that is raised whenever an example could change."""
        ...

    def texts(self, question: Question, value: Value, size: Size) -> Sequence[tuple[str, str]]:
        """The prompts of a question about an image of `size`, and the answer to each; `value` is in pixels."""
        ...

    def prompt_ids(self, prompt: str) -> list[int]:
        """The ids of a prompt, without or with one placeholder of the image."""
        ...

    def answer_ids(self, text: str) -> list[int]:
        """The ids of an answer, with the end token."""
        ...

    def placed(self, prompt: Sequence[int], pixels: Any) -> list[int]:
        """The ids of a prompt with as many placeholders as the image has."""
        ...

    def inputs(self, pixels: Sequence[Any], ids: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The model's further inputs for (N, L) ids: the tensors of the N images, and the types of the tokens."""
        ...


class AnswerLesson(RivalLesson):
    """The cross-entropy of the answers' tokens, which begin behind the prompt and end with the end token."""

    def __init__(self, model: torch.nn.Module, writer: Writer, seed: int, dtype: torch.dtype) -> None:
        super().__init__(model, seed)
        self.writer = writer
        self.dtype = dtype

    def loss(self, batch: Batch, device: torch.device) -> Loss:
        """The loss in nats: for each task the mean over its answer tokens."""
        pixels = [batch.pixels[place] for place in batch.image.tolist()]
        ids, mask, labels = self.rows(batch, pixels)
        further = self.writer.inputs(pixels, ids, labels)
        inputs = {"input_ids": ids, "attention_mask": mask, **further}
        placed = {name: self._placed(tensor, device) for name, tensor in inputs.items()}
        before = (labels[:, 1:] != NO_LABEL).any(0).nonzero()[:, 0]  # places before a token of an answer
        output = self.model(**placed, logits_to_keep=before.to(device), use_cache=False)
        targets = labels[:, before + 1].to(device)  # (N, K)
        real = targets != NO_LABEL
        losses = F.cross_entropy(output.logits[real].float(), targets[real], reduction="none")
        names, share, mean = kind_weights(batch, device)
        of_rows = torch.tensor([names.index(kind) for kind in batch.kinds], device=device)
        which = of_rows[:, None].expand_as(real)[real]
        sums = torch.zeros(len(names), device=device).index_add(0, which, losses)
        return (sums * share * mean).sum(), dict(zip(names, (sums.detach() * mean).tolist(), strict=True))

    def rows(self, batch: Batch, pixels: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and labels, (N, L), padded at the end: positions are then those of a prompt alone."""
        prompts = [
            self.writer.placed(prompt.tolist(), image) for prompt, image in zip(batch.prompts, pixels, strict=True)
        ]
        answers = [answer.tolist() for answer in batch.answers]
        longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, NO_LABEL)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            mask[row, :end] = 1
            labels[row, len(prompt) : end] = torch.tensor(answer)
        return ids, mask, labels

    def _placed(self, tensor: Tensor, device: torch.device) -> Tensor:
        return tensor.to(device, self.dtype if tensor.is_floating_point() else None, non_blocking=True)


class TextLearner:
    """A model that writes text, as a `harness.training.learner.Learner`.  `base` names the starting weights."""

    notes: Sequence[str] = ()

    def __init__(self, recipe: RivalRecipe, loaded: Pretrained, writer: Writer, base: tuple[str, str | None]) -> None:
        self.recipe, self.loaded, self.writer, self.base = recipe, loaded, writer, base
        self.model: Any = loaded.model
        self.kinds: frozenset[Kind] = frozenset(writer.family.kinds)
        self.sha256 = str(loaded.provenance["weights sha256"])
        self.ids = len(loaded.tokenizer)
        self.before = history_of(loaded.folder)

    @cached_property
    def language(self) -> str:
        """The family, its version and its prompts, and a digest of the tokenizer."""
        vocabulary = hashlib.sha256(self.loaded.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
        family = self.writer.family
        return f"{type(self.writer).__name__} {self.writer.version}:{family.version}:{family.identity}:{vocabulary}"

    @property
    def origin(self) -> tuple[object, ...]:
        """The language, and the settings of the image processor."""
        return self.language, [pixel_settings(processor) for processor in self.loaded.processors]

    def check(self, finished: Path) -> None:
        """CheckpointError for a damaged checkpoint."""
        rival_training.check(finished)

    def begin(self, questions: Mapping[str, Question]) -> None:
        """Adds the adapters, or freezes the recipe's parts; ResourceError without peft installed."""
        recipe = self.recipe
        if recipe.lora and recipe.freeze:
            raise UsageError("freeze has no effect with adapters (lora), which are all that is trained: --set lora=0")
        if recipe.lora:
            self.model = adapted(self.loaded.model, recipe, self.base)
        else:
            network.freeze(self.model, recipe.freeze)
        if recipe.checkpointing:
            self.loaded.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        self.model.train()

    @property
    def limits(self) -> tuple[int, int]:
        """The positions of the language model, and the recipe's limit of an answer."""
        return int(self.loaded.model.config.get_text_config().max_position_embeddings), self.recipe.answer_limit

    def examples(self, sample: Sample[Any], root: Path) -> Examples:
        """One pair for each reference answer, or for each prompt where a question takes several."""
        question, target = sample.question, sample.target
        if target is None:
            return []
        if question.kind not in self.kinds:
            raise DataError(f"sample {sample.id} is a {question.kind!r} question, which this model cannot be taught")
        size = question.size
        if size is None and (question.region is not None or not isinstance(target, Text)):
            size = images.size_of(root, question.image_name)
        try:
            pairs = [
                pair
                for value in values_of(question, target, size or Size(1, 1))
                for pair in self.writer.texts(replace(question, size=size), value, size or Size(1, 1))
            ]
        except DataError as error:
            raise DataError(f"sample {sample.id}: {error}") from error
        return [(self.writer.prompt_ids(prompt), self.writer.answer_ids(answer)) for prompt, answer in pairs]

    @property
    def resizing(self) -> Resizing:
        """The writer."""
        return self.writer

    def joined(self, pixels: list[Any]) -> list[Any]:
        """The images one by one."""
        return pixels

    def train(self, batches: Batches, out: Path, identity: str, device: str) -> None:
        """Trains the adapters, or the weights that are not frozen."""
        lesson = AnswerLesson(self.model, self.writer, self.recipe.plan.seed, self.loaded.dtype)
        rival_training.trained(lesson, batches, self.recipe.plan, out, identity)

    def save(self, folder: Path, run: TrainingRun) -> Path:
        """Writes the adapter in PEFT's format, or the whole checkpoint."""
        state = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        write: Callable[[Path], object] = lambda to: rival_training.save_whole(self.model, self.loaded.folder, to)  # noqa: E731
        if self.recipe.lora:
            write = lambda to: self.model.save_pretrained(to, save_embedding_layers=False)  # noqa: E731
        return rival_training.save(folder, state, write, self.before, run)


def adapted(model: Any, recipe: RivalRecipe, base: tuple[str, str | None]) -> Any:
    """The model with low-rank adapters on its language model's linear maps; all other weights are frozen."""
    try:
        import peft
    except ImportError as error:
        raise ResourceError(f"lora needs peft, which is not installed: {INSTALL_TRAIN}") from error
    config = peft.LoraConfig(
        r=recipe.lora,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=ADAPTED,
        base_model_name_or_path=base[0],
        revision=base[1],
    )
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names in transformers that PEFT still uses
        torch.manual_seed(recipe.plan.seed)
        return peft.get_peft_model(model, config)


def learner(
    weights: str | None,
    recipe: RivalRecipe,
    device: str,
    *,
    checkpoint: Checkpoint,
    class_name: str,
    writer: Callable[[Pretrained], Writer],
) -> TextLearner:
    """The learner of an entry's checkpoint, or of `weights` instead."""
    loaded = rival_training.start_of(checkpoint, weights, class_name, recipe, device)
    return TextLearner(recipe, loaded, writer(loaded), rival_training.name_of(checkpoint, weights))
