"""Florence-2 by name: which weights, which revision, which size.

`microsoft/Florence-2-large` is pinned to f0acedb, the last revision with the paper's weights: its main branch has
since been trained further, to a context of 4,096 tokens, and scores differently.  The other repositories carry no
such note; their main branch is what is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.entry import Entry, Setting
from baselines.hub import cached, fetch
from harness.core import Model
from harness.errors import CheckpointError, ResourceError, UsageError

if TYPE_CHECKING:
    import torch

    from harness.florence2.predictor import Parts

WEIGHTS = Path(__file__).parent / "weights"
NEEDED = ("config.json",)
WANTED = ("preprocessor_config.json", "tokenizer.json", "vocab.json", "merges.txt")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
MAX_NEW_TOKENS = 1024
DTYPES = ("float32", "bfloat16", "float16", "int8", "float8")


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint on the hub."""

    name: str
    repo: str
    revision: str = "main"
    family: str = "pretrained"  # of prompts


def entry(published: Published, about: str, parameters: str, *, protocol: str) -> Entry:
    """A hub checkpoint as an entry of MODELS."""
    return Entry(
        about=about,
        build=partial(build, published=published),
        at_hand=partial(cached, published.repo, published.revision, WEIGHT_FILES),
        parameters=parameters,
        repo=published.repo,
        revision=published.revision,
        protocol=protocol,
    )


def embedded(name: str, about: str, parameters: str, *, protocol: str = "zero_shot") -> Entry:
    """A checkpoint that comes with the project, trained on the miniature."""
    folder = WEIGHTS / name
    return Entry(
        about=about,
        build=partial(build, published=None, folder=folder),
        at_hand=lambda: str(folder) if (folder / "model.safetensors").is_file() else "",
        parameters=parameters,
        repo="(with the project)",
        embedded=True,
        protocol=protocol,
    )


def build(setting: Setting, published: Published | None, folder: Path | None = None) -> Model:
    """The checkpoint behind a Predictor: from `setting.weights`, a folder or `repo[@revision]`, else its own.

    CheckpointError where weights are missing or unusable, UsageError for a setting that cannot be meant.
    """
    refuse(setting)
    if setting.weights:
        folder = _given(setting.weights)
    elif folder is None and published is not None:
        folder = _fetched(published.repo, published.revision, f"{published.name} needs the weights of")
    if folder is None:
        raise CheckpointError("no weights were given")
    from harness.florence2 import prompts
    from harness.florence2.decoding.search import Decoding
    from harness.florence2.fast import threads
    from harness.florence2.predictor import Predictor

    forms = prompts.choose(published.family if published else "pretrained", setting.prompt)
    device = choose_device(setting.device)
    parts = load_parts(folder, resolution=setting.resolution, fast=setting.fast_resize)
    room = parts.model.config.text.positions
    decoding = Decoding(beams=setting.beams or 3, max_new_tokens=setting.max_new_tokens or min(MAX_NEW_TOKENS, room))
    batch = setting.batch_size if setting.batch_size is not None else (64 if device.startswith("cuda") else 32)
    predictor = Predictor(
        parts,
        setting.root,
        decoding=decoding,
        device=device,
        dtype=choose_dtype(setting.dtype, device),
        batch=batch,
        forms=forms,
    )
    threads.settle(setting.threads, predictor.model, predictor.preprocess.width, decoding)
    return predictor


def refuse(setting: Setting) -> None:
    """UsageError or ResourceError for a setting that no checkpoint can be run by, before any is loaded or made."""
    from harness.florence2 import prompts
    from harness.florence2.fast import threads

    choose_dtype(setting.dtype, choose_device(setting.device))
    prompts.choose("pretrained", setting.prompt)
    if setting.threads not in (None, threads.AUTO):
        threads.number(setting.threads)
    if setting.resolution is not None and setting.resolution < 32:
        raise UsageError(f"--resolution {setting.resolution}: at least 32 pixels, one cell of the last map")
    for option, value in (
        ("--beams", setting.beams), ("--max-new-tokens", setting.max_new_tokens), ("--batch-size", setting.batch_size),
    ):  # fmt: skip
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: at least 1")


def checkpoint_folder(name: str, given: str | None = None) -> Path:
    """Where a model's own weights lie, or those given instead; fetched where they are a hub's.

    UsageError for a model that is no Florence-2, CheckpointError where the weights are not to be had.
    """
    if name not in ENTRIES:
        raise UsageError(f"{name} is no Florence-2, so it cannot be fine-tuned here; there are {', '.join(ENTRIES)}")
    if given is not None:
        return _given(given)
    if ENTRIES[name].embedded:
        return WEIGHTS / name
    return _fetched(ENTRIES[name].repo, ENTRIES[name].revision, f"{name} needs the weights of")


def load_parts(folder: Path, *, resolution: int | None = None, fast: bool = False) -> Parts:
    """Everything in a checkpoint folder; CheckpointError where a part is missing or of another network."""
    from harness.florence2 import weights
    from harness.florence2.predictor import Parts
    from harness.florence2.preprocess import read_preprocess
    from harness.florence2.tokenizer import Tokenizer

    checkpoint = weights.load(folder)
    tokenizer = Tokenizer.load(folder)
    vocabulary = checkpoint.model.config.text.vocab
    if tokenizer.size > vocabulary:
        raise CheckpointError(f"{folder}: the tokenizer has {tokenizer.size} ids, the embedding only {vocabulary} rows")
    return Parts(checkpoint.model, tokenizer, read_preprocess(folder, side=resolution, fast=fast), checkpoint.sha256)


def choose_device(name: str | None) -> str:
    """What was asked for, or the first GPU, or the CPU; ResourceError where there is no such device here."""
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ResourceError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}; try cpu") from error
    return name


def choose_dtype(name: str | None, device: str) -> torch.dtype:
    """What was asked for; bfloat16 on a GPU (see `quantised`) and float32 elsewhere.

    UsageError for another name, and for int8 on a GPU or float8 on a CPU.
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
    """`--weights`: a folder, or a repository on the hub."""
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder
    repo, _, revision = weights.partition("@")
    if repo.count("/") != 1 or folder.exists() or weights.startswith(("/", ".", "~")):
        raise CheckpointError(
            f"--weights {weights}: no such folder, and no hub repository (owner/name or owner/name@revision)"
        )
    return _fetched(repo, revision or "main", "--weights names")


def _fetched(repo: str, revision: str, why: str) -> Path:
    return fetch(repo, revision, needed=NEEDED, wanted=WANTED, one_of=WEIGHT_FILES, why=why)


ENTRIES = {
    "florence2-nano": embedded("florence2-nano", "the same code at a small size, pre-trained on drawings", "3.3 M"),
    "florence2-nano-ft": embedded(
        "florence2-nano-ft", "the same, fine-tuned on the miniature's training splits", "3.3 M", protocol="fine_tuned"
    ),
    "florence2-b": entry(
        Published("florence2-b", "microsoft/Florence-2-base"),
        "Florence-2-B, pre-trained on FLD-5B (zero-shot)",
        "0.23 B",
        protocol="zero_shot",
    ),
    "florence2-l": entry(
        Published("florence2-l", "microsoft/Florence-2-large", "f0acedb"),
        "Florence-2-L, pre-trained on FLD-5B (zero-shot), the paper's weights",
        "0.77 B",
        protocol="zero_shot",
    ),
    "florence2-b-ft": entry(
        Published("florence2-b-ft", "microsoft/Florence-2-base-ft", family="fine_tuned"),
        "Florence-2-B fine-tuned on public task data (generalist)",
        "0.23 B",
        protocol="fine_tuned",
    ),
    "florence2-l-ft": entry(
        Published("florence2-l-ft", "microsoft/Florence-2-large-ft", family="fine_tuned"),
        "Florence-2-L fine-tuned on public task data (generalist)",
        "0.77 B",
        protocol="fine_tuned",
    ),
}
