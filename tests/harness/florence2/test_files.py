"""Which files of a checkpoint folder hold the weights, and JSON from strangers."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.florence2 import files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a readable x.json: Expecting"),
        ("[1]", "it holds a list, not an object"),
        ("null", "it holds a NoneType, not an object"),
        ('{"a": ' * 100_000, "it is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "is not a readable x.json"),  # longer than Python converts
        ("\ud800", "is not a readable x.json"),
    ],
)
def test_malformed_json_is_a_checkpoint_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=message):
        files.read_json(tmp_path / "x.json")


def test_json_that_is_missing_too_large_or_no_plain_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing there"):
        files.read_json(tmp_path / "x.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(files.MAX_JSON_BYTES + 1)  # a sparse file
    with pytest.raises(CheckpointError, match=f"has {files.MAX_JSON_BYTES + 1} bytes; at most"):
        files.read_json(tmp_path / "large.json")
    os.mkfifo(tmp_path / "fifo.json")  # opening it would wait for a writer
    with pytest.raises(CheckpointError, match="is not a file: it is of another type"):
        files.read_json(tmp_path / "fifo.json")


def test_json_behind_a_link_is_read_as_in_the_hubs_cache(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"a": 1}')
    (tmp_path / "x.json").symlink_to("blob")
    assert files.read_json(tmp_path / "x.json") == {"a": 1}


def test_weight_files_are_the_first_of_the_known_names(tmp_path: Path) -> None:
    for name in reversed(files.WEIGHT_FILES):
        (tmp_path / name).write_text(json.dumps({"weight_map": {"a": "two.bin", "b": "one.bin", "c": "two.bin"}}))
        shards = [tmp_path / "one.bin", tmp_path / "two.bin"]
        assert files.weight_files(tmp_path) == (shards if name.endswith("index.json") else [tmp_path / name])


@pytest.mark.parametrize("name", ["../one.bin", "/etc/passwd", "a/one.bin", "", ".", "..", 3, None])
def test_index_that_names_files_elsewhere_is_a_checkpoint_error(name: object, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="which is not a file beside it"):
        files.weight_files(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": []}}']
)
def test_malformed_index_is_a_checkpoint_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is not a readable index of weight files"):
        files.weight_files(tmp_path)


def test_folder_without_weights_is_an_error_that_names_what_resembles_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing there resembles weights"):
        files.weight_files(tmp_path)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "notes.txt"):
        (tmp_path / name).write_bytes(b"")  # what a Trainer leaves beside the weights
    with pytest.raises(CheckpointError, match="nothing there resembles weights"):
        files.weight_files(tmp_path)
    for name in ("best.ckpt", "model.gguf", "model.fp16.safetensors"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "global_step500").mkdir()
    expected = r"there is best\.ckpt, global_step500/, model\.fp16\.safetensors, model\.gguf$"
    with pytest.raises(CheckpointError, match=expected):
        files.weight_files(tmp_path)
    for number in range(3):
        (tmp_path / f"checkpoint-{number}").mkdir()
    with pytest.raises(CheckpointError, match=r"best\.ckpt, checkpoint-0/, .* and 2 more$"):
        files.weight_files(tmp_path)


def test_digest_is_that_of_the_bytes_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert files.file_digest([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(b"onetwo").hexdigest()


def test_parts_of_a_folder_are_found_by_their_files(tmp_path: Path) -> None:
    assert not (files.is_adapter(tmp_path) or files.has_tokenizer(tmp_path) or files.has_preprocessing(tmp_path))
    (tmp_path / "vocab.json").touch()
    assert not files.has_tokenizer(tmp_path)
    (tmp_path / "merges.txt").touch()
    assert files.has_tokenizer(tmp_path)
    for name in files.PREPROCESSING_FILES:
        (tmp_path / name).touch()
        assert files.has_preprocessing(tmp_path)
        (tmp_path / name).unlink()
    for name in (files.ADAPTER_CONFIG, *files.ADAPTER_FILES):
        (tmp_path / name).touch()
        assert files.is_adapter(tmp_path)
        (tmp_path / name).unlink()
