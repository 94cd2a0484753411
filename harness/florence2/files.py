"""The files of a checkpoint folder: which of them hold the weights, and their JSON.  Nothing in a file is executed.

Only plain files are opened, or links to them, as in the hub's cache: a FIFO or a device could block for ever.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError

MAX_JSON_BYTES = 1 << 25  # the index of the largest published checkpoint has about 0.1 MB
WEIGHT_FILES = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"
)  # fmt: skip
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # any one of them
PREPROCESSING_FILES = ("processor_config.json", "preprocessor_config.json")
_LIKE_WEIGHTS = re.compile(
    r".*\.(safetensors|bin|pth?|ckpt|pkl|gguf|h5|msgpack|npz|onnx)|checkpoint.*|global_step.*|pytorch_model_fsdp.*|.*\.index\.json"
)
_NOT_WEIGHTS = re.compile(r"training_args\.bin|(optimizer|scheduler|scaler)\..*|rng_state.*")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    CheckpointError if the file is missing, is larger than MAX_JSON_BYTES, or does not hold a JSON object.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file: {'it is of another type' if path.exists() else 'nothing there'}")
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has {size} bytes; at most {MAX_JSON_BYTES} are read")
        fields = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise CheckpointError(f"{path} is not a readable {path.name}: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable {path.name}: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(
            f"{path} is not a readable {path.name}: it holds a {type(fields).__name__}, not an object"
        )
    return fields


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: one, or the shards that an index names.

    CheckpointError, which names what there is, if there are none; and for an index that is malformed or names files
    elsewhere.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            return shards(path) if name.endswith(".json") else [path]
    raise CheckpointError(f"{folder} has no weights: none of {', '.join(WEIGHT_FILES)}; {found(folder)}")


def shards(index: Path) -> list[Path]:
    """The files that an index of shards names, in order.

    CheckpointError if it is malformed or names files elsewhere.
    """
    try:
        names = set(read_json(index)["weight_map"].values())
    except (CheckpointError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not a readable index of weight files: {error}") from error
    for name in names:
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is not a file beside it")
    if not names:
        raise CheckpointError(f"{index} is not a readable index of weight files: it names none")
    return [index.with_name(name) for name in sorted(names)]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, or a part of one."""
    return any((folder / name).exists() for name in (ADAPTER_CONFIG, *ADAPTER_FILES))


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has the files of a tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES)


def has_preprocessing(folder: Path) -> bool:
    """Whether a folder has a file that may state preprocessing."""
    return any((folder / name).exists() for name in PREPROCESSING_FILES)


def found(folder: Path) -> str:
    """What a folder has that resembles weights, for an error."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if _LIKE_WEIGHTS.fullmatch(path.name) and not _NOT_WEIGHTS.fullmatch(path.name)
    )
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"there is {', '.join(names[:5])}{more}" if names else "nothing there resembles weights"


def file_digest(files: list[Path]) -> str:
    """The sha256 of the bytes of the files, in this order, in hexadecimal."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                whole.update(chunk)
    return whole.hexdigest()
