"""Loads checkpoints by transformers: from a folder, or from the hub once and then from its cache.

torchvision is not needed: image processors are transformers' Pillow forms.  Code from a repository is never run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baselines.entry import Entry, Setting
from baselines.hub import cached, fetch, has
from baselines.licences import licence_of
from harness.core import Kind, Model
from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.files import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    WEIGHT_FILES,
    file_digest,
    is_adapter,
    read_json,
    weight_files,
)  # fmt: skip

MINIMUM = (5, 24)
INSTALL = 'pip install "florence2-harness[baselines]"'
USES = frozenset({"weights", "device", "dtype", "batch_size"})
DTYPES = ("float32", "bfloat16", "float16")
QUANTISED = ("int8", "int4")
TEXT_FILES = (  # whatever a family has of them
    "generation_config.json", "preprocessor_config.json", "processor_config.json", "chat_template.jinja",
    "chat_template.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "qformer_tokenizer/tokenizer.json", "qformer_tokenizer/tokenizer_config.json",
    "qformer_tokenizer/special_tokens_map.json", "qformer_tokenizer/added_tokens.json", "qformer_tokenizer/vocab.txt",
)  # fmt: skip
TOKENIZERS = (  # a folder has one of them
    "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"
)  # fmt: skip
PARTS_OF = {"sam2": "sam2_video"}  # kinds of model that are published within another kind
NO_SETTINGS = ("image_processor_type", "processor_class", "auto_map")  # names of classes
BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options of models that transformers loads.  None leaves the choice to transformers."""

    attention: str | None = None
    "Attention of transformers: eager, sdpa, flash_attention_2 [default: transformers' choice]"
    quantise: str | None = None
    "Quantise the weights while loading: int8 or int4, by bitsandbytes; needs a GPU"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The source of an entry's weights: a repository on the hub."""

    name: str  # of the entry
    repo: str
    revision: str = "main"

    def folder(self, weights: str | None = None) -> Path:
        """The folder of the weights, or of `weights` instead (a folder or owner/name[@revision]), downloaded if needed.

        CheckpointError where they are neither here nor on the hub; ResourceError where a download fails.
        """
        if weights is None:
            return fetched(self.repo, self.revision, f"{self.name} needs the weights of")
        folder = Path(weights).expanduser()
        if folder.is_dir():
            return folder
        repo, _, revision = weights.partition("@")
        if folder.exists() or repo.count("/") != 1 or repo.startswith(("/", ".", "~")):
            raise CheckpointError(
                f"--weights {weights}: no such folder, and not a hub repository (owner/name or owner/name@revision)"
            )
        revision, why = revision or "main", "--weights names"
        if has(repo, ADAPTER_CONFIG, revision, why):
            return fetch(repo, revision, needed=(ADAPTER_CONFIG,), optional=(), one_of=ADAPTER_FILES, why=why)
        return fetched(repo, revision, why)

    def base(self, folder: Path) -> Path | None:
        """The folder of the model that the adapter in `folder` names, or the entry's own; None for whole weights."""
        return base_of(folder, self) if is_adapter(folder) else None

    def at_hand(self) -> str:
        """The folder of the weights on this machine; "" where they are not on it."""
        return cached(self.repo, self.revision, WEIGHT_FILES)

    def entry(self, about: str, build: Callable[..., Model], *, kinds: frozenset[Kind], **more: Any) -> Entry:
        """The Entry of these weights; `build(setting, options, checkpoint=self)` returns the Model.

        `more` are further fields of Entry, such as `options` in place of LoadOptions, with their `refuse`.
        """
        entry = Entry(
            name=self.name,
            about=about,
            build=partial(build, checkpoint=self),
            options=LoadOptions,
            uses=USES,
            kinds=kinds,
            refuse=refuse,
            at_hand=self.at_hand,
            repo=self.repo,
            revision=self.revision,
            licence=licence_of(self.repo),
        )
        return replace(entry, **more)


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers that is loaded and ready, with the folder that it came from.

    - `model` is on its device, in evaluation mode.
    - `folder` holds the configuration, the tokenizer and the settings of the image processor: for a PEFT adapter, the
      base model's folder.
    - `weights` names the weights, their precision and their quantisation.
    - `processors` are the image processors that were made of the folder.
    """

    model: Any
    folder: Path
    weights: str
    provenance: Mapping[str, Any]
    processors: list[Any] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """The weights and the settings of the image processors made so far: the start of a fingerprint.

        Those settings are in a file beside the weights, so the same weights can have others.
        """
        settings = ":".join(map(pixel_settings, self.processors))
        return f"{self.weights}:{hashlib.sha256(settings.encode()).hexdigest()[:8]}" if settings else self.weights

    @property
    def device(self) -> Any:
        """The device of the model's inputs."""
        return self.model.device

    @property
    def dtype(self) -> Any:
        """The precision of the model's floating-point inputs."""
        return self.model.dtype

    @cached_property
    def tokenizer(self) -> Any:
        """The folder's tokenizer, which pads on the left unless the model has an encoder for the text."""
        tokenizer = tokenizer_of(self.folder)
        if not getattr(self.model.config, "is_encoder_decoder", False):
            tokenizer.padding_side = "left"
        return tokenizer

    def image_processor(self, name: str, **settings: Any) -> Any:
        """The folder's image processor as transformers' class `name` (a Pillow form), with `settings` replaced."""
        import transformers

        with explained(self.folder, "image processor"):
            kind = getattr(transformers, name)
            processor = kind.from_pretrained(self.folder, local_files_only=True, **settings)
        self.processors.append(processor)
        return processor


def load(class_name: str, checkpoint: Checkpoint, setting: Setting, options: LoadOptions) -> Pretrained:
    """The model of a checkpoint, as transformers' class `class_name`.

    A folder with a PEFT adapter is merged onto the model that it names.  CheckpointError where the weights are missing,
    are of another class, or lack a tensor; ResourceError where transformers or the device cannot be used.
    """
    transformers = required()
    from harness.speed.systems import no_progress_bar

    dtype = choose_dtype(setting)
    folder = checkpoint.folder(setting.weights)
    adapter = folder if is_adapter(folder) else None
    base = base_of(adapter, checkpoint) if adapter else folder
    kind = getattr(transformers, class_name)
    _check_class(base, kind, adapter)
    arguments: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if options.attention is not None:
        arguments["attn_implementation"] = options.attention
    if options.quantise is not None:
        arguments["quantization_config"] = _quantisation(options.quantise, dtype)
    device = _device(setting)
    if device == "auto" or options.quantise is not None:
        arguments["device_map"] = device
    with explained(base, "weights"), no_progress_bar():
        model, loading = kind.from_pretrained(base, output_loading_info=True, **arguments)
    if missing := sorted(loading["missing_keys"]):
        raise CheckpointError(
            f"{base} lacks {len(missing)} tensors of {class_name}, such as {missing[0]}: it holds another model, "
            "or a part of one"
        )
    if adapter:
        from baselines.peft_adapters import merged

        model = merged(model, adapter, base)
    if "device_map" not in arguments:
        model = model.to(device)
    digest = weights_digest(base) + (f"+{weights_digest(adapter)}" if adapter else "")
    precision = str(model.dtype).removeprefix("torch.") + (f" {options.quantise}" if options.quantise else "")
    provenance = {
        "weights": str(setting.weights or f"{checkpoint.repo}@{checkpoint.revision}"),
        "weights sha256": digest,
        "transformers": transformers.__version__,
        "attention": str(model.config._attn_implementation),
        "device": str(model.device),
        "precision": precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    return Pretrained(model.eval(), base, f"{class_name}:{digest}:{precision}", provenance)


def fetched(repo: str, revision: str, why: str) -> Path:
    """The folder of a repository with its configuration, texts and weights; see `hub.fetch` for errors."""
    folder = fetch(repo, revision, needed=("config.json",), optional=TEXT_FILES, one_of=WEIGHT_FILES, why=why)
    shards = [path.name for path in weight_files(folder)]
    return fetch(repo, revision, needed=shards, optional=(), one_of=(), why=why)


def required() -> Any:
    """transformers; ResourceError, with the command that installs it, where it is absent or too old."""
    try:
        import transformers
    except ImportError as error:
        raise ResourceError(f"this model needs transformers, which is not installed: {INSTALL}") from error
    found = tuple(int(part) for part in re.findall(r"\d+", transformers.__version__)[:2])
    if found < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        version = transformers.__version__
        raise ResourceError(f"this model needs transformers {wanted}; installed is {version}: {INSTALL}")
    return transformers


def refuse(setting: Setting, options: LoadOptions) -> None:
    """UsageError or ResourceError for a setting that cannot work, before anything is downloaded or loaded."""
    required()
    choose_dtype(setting)
    _device(setting)
    if options.quantise is not None:
        _quantisation(options.quantise, None)
    if setting.batch_size is not None and setting.batch_size < 1:
        raise UsageError(f"--batch-size {setting.batch_size}: at least 1")


def choose_dtype(setting: Setting) -> Any:
    """The precision: as given, else bfloat16 on a GPU and float32 on a CPU; UsageError for another name."""
    import torch

    if setting.dtype is not None and setting.dtype not in DTYPES:
        more = "; for fewer bits use --quantise int8 or int4" if setting.dtype in QUANTISED else ""
        raise UsageError(f"--dtype {setting.dtype}: one of {', '.join(DTYPES)}{more}")
    return getattr(torch, setting.dtype or ("float32" if _device(setting) == "cpu" else "bfloat16"))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a folder; CheckpointError where there is none: transformers would make one without words."""
    import transformers

    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZERS)}")
    with explained(folder, "tokenizer"):
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def check_vocabulary(loaded: Pretrained, known: int) -> None:
    """CheckpointError where the tokenizer has more than `known` tokens, for which the model has embeddings.

    A processor of transformers adds the special tokens that a tokenizer lacks, with numbers beyond the embeddings.
    """
    if len(loaded.tokenizer) > known:
        raise CheckpointError(
            f"the tokenizer of {loaded.folder} has {len(loaded.tokenizer):,} tokens with this family's special tokens; "
            f"the model has embeddings of {known:,}: it is the tokenizer of another model"
        )


def pixel_settings(processor: Any) -> str:
    """The settings of an image processor that decide on pixels, in one line; unset ones are left out."""
    fields = {
        name: value for name, value in processor.to_dict().items() if name not in NO_SETTINGS and value is not None
    }
    return json.dumps(fields, sort_keys=True, default=str)


def weights_digest(folder: Path) -> str:
    """16 hexadecimal digits that name the weights of a folder, or the weights and the settings of an adapter.

    A file in the hub's cache is a link to a blob that is named by its sha256; other files are read.
    """
    from harness.florence2.adapters import adapter_files

    whole = hashlib.sha256()
    for path in adapter_files(folder) if is_adapter(folder) else weight_files(folder):
        blob = path.resolve().name
        whole.update((blob if BLOB.fullmatch(blob) else file_digest([path])).encode())
    return whole.hexdigest()[:16]


@contextmanager
def explained(folder: Path, what: str) -> Iterator[None]:
    """Turns what transformers raises on a bad folder into a CheckpointError of one line."""
    try:
        yield
    except (CheckpointError, ResourceError, UsageError):
        raise
    except ImportError as error:
        raise ResourceError(f"the {what} of {folder} needs another package: {_first_line(error)}") from error
    except Exception as error:  # transformers raises any kind
        raise CheckpointError(f"the {what} of {folder} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _device(setting: Setting) -> str:
    from baselines.florence2 import choose_device

    return "auto" if setting.device == "auto" else choose_device(setting.device)


def _check_class(folder: Path, kind: Any, adapter: Path | None) -> None:
    """CheckpointError where the folder's `config.json` is of another kind of model; `adapter` is one that names it."""
    path = folder / "config.json"
    stated = read_json(path).get("model_type")
    wanted = kind.config_class.model_type
    if stated not in (wanted, PARTS_OF.get(wanted, wanted)):
        of = f"{adapter} is an adapter of {folder}, and " if adapter else ""
        raise CheckpointError(f"{of}{path} is of a {stated!r} model; this entry needs {wanted!r}")


def _quantisation(name: str, dtype: Any) -> Any:
    import torch
    import transformers

    if name not in QUANTISED:
        raise UsageError(f"--quantise {name}: one of {', '.join(QUANTISED)}")
    if not torch.cuda.is_available():
        raise ResourceError(f"--quantise {name} needs a GPU: bitsandbytes quantises there")
    if not find_spec("bitsandbytes"):
        raise ResourceError(f"--quantise {name} needs bitsandbytes: pip install bitsandbytes accelerate")
    eight = name == "int8"
    return transformers.BitsAndBytesConfig(load_in_8bit=eight, load_in_4bit=not eight, bnb_4bit_compute_dtype=dtype)


def base_of(adapter: Path, checkpoint: Checkpoint) -> Path:
    """The folder of the model that a PEFT adapter names, or that of the entry if it names none.

    CheckpointError for a name that is no folder here and no repository.
    """
    from harness.florence2.adapters import read_adapter_config

    stated = read_adapter_config(adapter)
    if stated.base is None:
        return checkpoint.folder()
    if (folder := Path(stated.base).expanduser()).is_dir():
        return folder
    if stated.base.count("/") != 1 or stated.base.startswith(("/", ".", "~")):
        raise CheckpointError(
            f"{adapter / ADAPTER_CONFIG} names the base model {stated.base!r}, which is no folder here and no hub "
            "repository: correct base_model_name_or_path in it"
        )
    return checkpoint.folder(f"{stated.base}@{stated.revision}" if stated.revision else stated.base)
