"""The Florence-2 models: their weights, revisions, sizes and options.

`microsoft/Florence-2-large` is pinned to f0acedb, the last revision with the paper's weights.  The weights of its main
branch were trained further, to a context of 4,096 tokens, and score differently.  The other repositories do not mention
such a change; their main branches are used.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.entry import Entry, Setting
from baselines.hub import cached, fetch, has
from baselines.licences import PROJECT, licence_of
from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.config import BASE, LARGE, NANO, Config
from harness.florence2.files import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    WEIGHT_FILES,
    has_preprocessing,
    has_tokenizer,
    is_adapter,
    weight_files,
)
from harness.florence2.prompts import FORMS

if TYPE_CHECKING:
    import torch

    from harness.florence2.adapters import AdapterConfig
    from harness.florence2.predictor import Parts, Predictor

WEIGHTS = Path(__file__).parent / "weights"
NEEDED_FILES = ("config.json",)
OPTIONAL_FILES = (
    "preprocessor_config.json", "processor_config.json", "tokenizer.json", "vocab.json", "merges.txt",
    "added_tokens.json",
)  # fmt: skip
MAX_NEW_TOKENS = 1024
DTYPES = ("float32", "bfloat16", "float16", "int8", "float8")
USES = frozenset({"weights", "device", "dtype", "batch_size"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of Florence-2 models.  None leaves the choice to the checkpoint."""

    beams: int | None = None
    "Beams of the search; 1 is greedy search [default: 3]"
    no_repeat_ngram: int | None = None
    "No answer has the same n-gram of tokens twice, n being this number; 0 allows repetition [default: 3]"
    length_penalty: float | None = None
    "Beam search divides a score by length to this power: above 1 favours long answers [default: 1]"
    max_new_tokens: int | None = None
    "Maximum length of an answer in tokens; a longer answer is cut and counts as truncated [default: 1024]"
    resolution: int | None = None
    "Side of the model's input image in pixels [default: the checkpoint's; 768 for the published ones]"
    prompt: str | None = None
    "Other prompt forms, as kind=form, separated by commas, such as find=said,caption=detailed"
    threads: str | None = None
    "CPU threads, or 'auto' for the fastest number by a trial [default: one per core; fewer while others use them]"
    backend: str | None = None
    "Runtime that computes the network on a CPU: onnxruntime or openvino (extra: peers) [default: this harness]"
    fast_resize: bool = False
    "Resize images with torch: about 3 times as fast; 0.05 to 0.2 % of pixel values differ, by up to 2 of 255"
    logprobs: bool = False
    "Keep the log-probability of each token with its answer, for the viewer; answers are the same"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an entry's weights: a folder of this project, or a repository on the hub."""

    name: str
    size: Config  # for networks with random weights in `bench`
    folder: Path | None = None
    repo: str = ""
    revision: str = "main"
    family: str = "pretrained"  # the family of prompts

    def checkpoint(self, given: str | None = None) -> Path:
        """The folder of the weights, or of the weights `given` instead, downloaded if necessary.

        CheckpointError where they are neither on this machine nor on the hub; ResourceError where a download fails.
        """
        if given is not None:
            return _given(given)
        if self.folder is not None:
            return self.folder
        return _fetched(self.repo, self.revision, f"{self.name} needs the weights of")

    def base(self, folder: Path) -> Path | None:
        """The folder of the model that supplies what a checkpoint folder lacks; None if it lacks nothing.

        The base of a PEFT adapter is the model that it names, a folder or a repository; if it names none, this source.
        A folder without a tokenizer takes that of this source.  Downloaded if necessary; errors as `checkpoint`.
        """
        if is_adapter(folder):
            from harness.florence2.adapters import read_adapter_config

            config = read_adapter_config(folder)
            return self.checkpoint() if config.base is None else _named_base(config, folder)
        if self.folder is not None:
            lacking = not (has_tokenizer(folder) and has_preprocessing(folder))
            return self.folder if lacking and folder.resolve() != self.folder.resolve() else None
        if has_tokenizer(folder) or not (folder / "config.json").is_file():
            return None
        why = f"{folder} has no tokenizer; that of {self.name} is in"
        return fetch(self.repo, self.revision, needed=NEEDED_FILES, optional=OPTIONAL_FILES, one_of=(), why=why)

    def at_hand(self) -> str:
        """The folder of the weights on this machine; "" where they are not on it."""
        if self.folder is not None:
            return str(self.folder) if (self.folder / "model.safetensors").is_file() else ""
        return cached(self.repo, self.revision, WEIGHT_FILES)


def entry(
    source: Source, about: str, parameters: str, *, protocol: str = "zero_shot", recipe: str = "unified"
) -> Entry:
    """The Entry of a checkpoint."""
    return Entry(
        name=source.name,
        about=about,
        build=partial(build, source=source),
        options=Options,
        uses=USES,
        kinds=frozenset(FORMS),
        refuse=refuse,
        at_hand=source.at_hand,
        parameters=parameters,
        repo=source.repo or "(with the project)",
        revision="-" if source.folder else source.revision,
        licence=PROJECT if source.folder else licence_of(source.repo),
        embedded=source.folder is not None,
        protocol=protocol,
        checkpoint=source.checkpoint,
        base=source.base,
        recipe=recipe,
        bench=partial(_bench, source=source),
    )


def build(setting: Setting, options: Options, source: Source) -> Predictor:
    """A Predictor with the weights of `setting.weights`, a folder or `repo[@revision]`, or with those of `source`.

    CheckpointError where the weights are missing or unusable; UsageError for a setting that cannot work.
    """
    folder = source.checkpoint(setting.weights)
    import torch

    from harness.florence2 import prompts
    from harness.florence2.decoding.search import Decoding
    from harness.florence2.fast import threads
    from harness.florence2.predictor import Predictor

    forms = prompts.choose(source.family, options.prompt)
    device = _device(setting, options)
    if options.backend is not None and options.threads is not None:
        torch.set_num_threads(threads.number(options.threads))  # before the runtime compiles for this number
    base = source.base(folder)
    parts = load_parts(folder, base=base, resolution=options.resolution, fast=options.fast_resize)
    room = parts.model.config.text.positions
    decoding = Decoding(max_new_tokens=options.max_new_tokens or min(MAX_NEW_TOKENS, room), **search_settings(options))
    batch = setting.batch_size if setting.batch_size is not None else (64 if device.startswith("cuda") else 32)
    predictor = Predictor(
        parts,
        setting.root,
        decoding=decoding,
        device=device,
        dtype=choose_dtype(setting.dtype, device),
        batch=batch,
        forms=forms,
        log_probs=options.logprobs,
        backend=options.backend,
    )
    threads.settle(options.threads, predictor.model, predictor.preprocess.width, decoding)
    predictor.backs_off = predictor.device.type == "cpu" and options.threads in (None, threads.AUTO)
    return predictor


def search_settings(options: Options) -> dict[str, Any]:
    """The settings of `Decoding` that the options name."""
    named = {
        "beams": options.beams,
        "no_repeat_ngram": options.no_repeat_ngram,
        "length_penalty": None if options.length_penalty is None else float(options.length_penalty),
    }
    return {name: value for name, value in named.items() if value is not None}


def refuse(setting: Setting, options: Options) -> None:
    """UsageError or ResourceError for a setting that no checkpoint can use, before anything is loaded."""
    from harness.florence2 import prompts
    from harness.florence2.fast import threads

    device = _device(setting, options)
    dtype = choose_dtype(setting.dtype, device)
    if options.backend is not None:
        _refuse_backend(options, device, str(dtype).removeprefix("torch."))
    prompts.choose("pretrained", options.prompt)
    if options.threads not in (None, threads.AUTO):
        threads.number(options.threads)
    if options.resolution is not None and options.resolution < 32:
        raise UsageError(f"--resolution {options.resolution}: at least 32 pixels, one cell of the last map")
    for option, value in (
        ("--beams", options.beams), ("--max-new-tokens", options.max_new_tokens), ("--batch-size", setting.batch_size),
    ):  # fmt: skip
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: at least 1")
    if options.no_repeat_ngram is not None and options.no_repeat_ngram < 0:
        raise UsageError(f"--no-repeat-ngram {options.no_repeat_ngram}: at least 0, which allows repetition")
    if options.length_penalty is not None and not math.isfinite(options.length_penalty):
        raise UsageError(f"--length-penalty {options.length_penalty}: a finite number")


def _refuse_backend(options: Options, device: str, precision: str) -> None:
    """UsageError or ResourceError for a backend that cannot be used with the other settings."""
    from harness.florence2.exported import backend
    from harness.florence2.fast import threads

    backend.check(str(options.backend), precision, device)
    if options.threads == threads.AUTO:
        raise UsageError(f"--threads {threads.AUTO} tries this harness's own kernels; --backend needs a whole number")


def _device(setting: Setting, options: Options) -> str:
    """The device of the settings; a backend's default is the CPU."""
    return choose_device("cpu" if setting.device is None and options.backend is not None else setting.device)


def _bench(setting: Setting, options: Options, request: Any, source: Source) -> Any:
    from baselines.florence2_bench import prepared

    return prepared(setting, options, request, source)


def load_parts(folder: Path, *, base: Path | None = None, resolution: int | None = None, fast: bool = False) -> Parts:
    """The network, tokenizer and preprocessing of a checkpoint folder; from `base` what the folder lacks.

    What is assumed, merged, or taken from elsewhere is in the parts' notes, and logged.  CheckpointError where a part
    is missing or does not fit the network; UsageError for a `resolution` that does not fit.
    """
    from harness.florence2 import weights
    from harness.florence2.predictor import Parts
    from harness.florence2.preprocess import find_preprocess
    from harness.florence2.tokenizer import find_tokenizer

    checkpoint = weights.load(folder, base=base)
    tokenizer, taken = find_tokenizer(folder, checkpoint.model.config.text.vocab, base)
    preprocess, assumed = find_preprocess(folder, base=base, side=resolution, fast=fast)
    vision = checkpoint.model.config.vision
    for side in (preprocess.height, preprocess.width):
        if not 1 <= vision.map_side(side) <= vision.max_side:
            stated = f"--resolution {side}" if resolution else f"{folder}: an image side of {side} pixels"
            limit = f"this checkpoint has positions for {vision.max_side} cells, and the side takes"
            raise (UsageError if resolution else CheckpointError)(f"{stated}: {limit} {vision.map_side(side)}")
    notes = (*checkpoint.notes, *taken, *assumed)
    for note in notes:
        log.warning("%s", note)
    return Parts(checkpoint.model, tokenizer, preprocess, checkpoint.sha256, notes)


def choose_device(name: str | None) -> str:
    """The device of this name; without a name a GPU where there is one, else the CPU.

    ResourceError where this machine has no such device.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ResourceError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}; try cpu") from error
    return name


def choose_dtype(name: str | None, device: str) -> torch.dtype:
    """The precision of this name; without a name bfloat16 on a GPU (see `fast.choose`) and float32 elsewhere.

    UsageError for an unknown name, for int8 on a GPU, and for float8 on a CPU.
    """
    import torch

    on_gpu = device.startswith("cuda")
    if name is None:
        name = "bfloat16" if on_gpu else "float32"
    if name not in DTYPES:
        raise UsageError(f"--dtype {name}: one of {', '.join(DTYPES)}")
    if name == "int8" and on_gpu:
        raise UsageError("--dtype int8 is for a CPU; on a GPU try bfloat16 or float16")
    if name == "float8" and not on_gpu:
        raise UsageError("--dtype float8 is for a GPU; on a CPU try int8")
    dtype: torch.dtype = getattr(torch, "float8_e4m3fn" if name == "float8" else name)
    return dtype


def _given(weights: str) -> Path:
    """The folder of `--weights`, which names a folder or a repository on the hub."""
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise CheckpointError(
            f"--weights {weights} is a file; give the folder that holds it and config.json, under a name such as "
            "model.safetensors or pytorch_model.bin"
        )
    repo, _, revision = weights.partition("@")
    if not _is_repository(repo) or folder.exists():
        raise CheckpointError(
            f"--weights {weights}: no such folder, and not a hub repository (owner/name or owner/name@revision)"
        )
    return _fetched_or_adapter(repo, revision or "main", "--weights names")


def _named_base(config: AdapterConfig, folder: Path) -> Path:
    """The folder of the base model that an adapter's settings name."""
    name = str(config.base)
    if (local := Path(name).expanduser()).is_dir():
        return local
    if not _is_repository(name):
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG} names the base model {name!r}, which is no folder here and no hub repository: "
            "correct base_model_name_or_path in it"
        )
    return _fetched(name, config.revision or "main", f"the adapter in {folder} is of")


def _is_repository(name: str) -> bool:
    """Whether a name can be that of a hub repository, owner/name."""
    return name.count("/") == 1 and not name.startswith(("/", ".", "~")) and not Path(name).exists()


def _fetched(repo: str, revision: str, why: str) -> Path:
    """The folder of a repository with a whole checkpoint, of which the shards that its index names are fetched too."""
    folder = fetch(repo, revision, needed=NEEDED_FILES, optional=OPTIONAL_FILES, one_of=WEIGHT_FILES, why=why)
    files = [path.name for path in weight_files(folder)]
    return fetch(repo, revision, needed=files, optional=(), one_of=(), why=why)


def _fetched_or_adapter(repo: str, revision: str, why: str) -> Path:
    """The folder of a repository with a whole checkpoint, or with an adapter."""
    if not has(repo, ADAPTER_CONFIG, revision, why):
        return _fetched(repo, revision, why)
    needed = (ADAPTER_CONFIG,)
    return fetch(repo, revision, needed=needed, optional=OPTIONAL_FILES, one_of=ADAPTER_FILES, why=why)


def _published(name: str, size: Config, repo: str, revision: str = "main", family: str = "pretrained") -> Source:
    return Source(name, size, None, repo, revision, family)


ENTRIES = (
    entry(
        Source("florence2-nano", NANO, WEIGHTS / "florence2-nano"),
        "a small Florence-2, pre-trained on drawings of the embedded benchmark's kind",
        "3.3 M",
        recipe="nano-unified",
    ),
    entry(
        Source("florence2-nano-ft", NANO, WEIGHTS / "florence2-nano-ft"),
        "florence2-nano, fine-tuned on the training splits of the embedded benchmark",
        "3.3 M",
        protocol="fine_tuned",
        recipe="nano-unified",
    ),
    entry(
        _published("florence2-b", BASE, "microsoft/Florence-2-base"),
        "Florence-2-B, pre-trained on FLD-5B (zero-shot)",
        "0.23 B",
    ),
    entry(
        _published("florence2-l", LARGE, "microsoft/Florence-2-large", "f0acedb"),
        "Florence-2-L, pre-trained on FLD-5B (zero-shot), with the paper's weights",
        "0.77 B",
    ),
    entry(
        _published("florence2-b-ft", BASE, "microsoft/Florence-2-base-ft", family="fine_tuned"),
        "Florence-2-B fine-tuned on public task data (generalist)",
        "0.23 B",
        protocol="fine_tuned",
    ),
    entry(
        _published("florence2-l-ft", LARGE, "microsoft/Florence-2-large-ft", family="fine_tuned"),
        "Florence-2-L fine-tuned on public task data (generalist)",
        "0.77 B",
        protocol="fine_tuned",
    ),
)
