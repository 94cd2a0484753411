"""The network and its loader: transformers' forward from every layout and file that checkpoints come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import CheckpointError, UsageError
from harness.florence2 import weights
from harness.florence2.config import BASE, Config, native_config, with_text
from harness.florence2.model import Florence2
from tests.layouts import write_original
from tests.twins import TINY, Twins, twins, with_image_tokens

State = dict[str, Tensor]


def state_of(twin: Twins) -> State:
    """transformers' state under its own names, without aliases of the tied embedding."""
    tied = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    return {k: v.detach().clone() for k, v in twin.theirs.state_dict().items() if not any(name in k for name in tied)}


def write_native(config: Config, state: State, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(native_config(config)))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder


def inputs(config: Config, height: int, width: int, rows: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, prompts (the second padded), which of their tokens are real, and tokens to feed."""
    draw = torch.Generator().manual_seed(height * width)
    pixels = torch.randn(rows, 3, height, width, generator=draw)
    prompt = torch.randint(4, config.text.vocab - 8, (rows, 6), generator=draw)
    real = torch.ones(rows, 6, dtype=torch.bool)
    real[1:, 4:] = False
    fed = torch.randint(4, config.text.vocab - 8, (rows, 7), generator=draw)
    return pixels, prompt.masked_fill(~real, 1), real, fed


def compare(twin: Twins, ours: Florence2, height: int, width: int) -> float:
    """The largest difference of the logits over all real places."""
    pixels, prompt, real, fed = inputs(ours.config, height, width)
    with torch.inference_mode():
        places, mask = with_image_tokens(twin, prompt, real, ours.look(pixels).shape[1])
        expected = twin.theirs(input_ids=places, attention_mask=mask, pixel_values=pixels, decoder_input_ids=fed).logits
        found = ours(pixels, prompt, real, fed)
    assert expected.std() > 1  # logits that say something
    return float((found - expected).abs().max())


# Sides whose maps do not divide into windows are among them, and an image that is not square.
@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 64), (128, 128), (160, 96), (33, 47)])
def test_forward_equals_transformers(height: int, width: int) -> None:
    twin = twins(seed=height + width)
    assert compare(twin, twin.ours, height, width) < 1e-4


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_original_layout(tmp_path: Path, pickled: bool) -> None:
    twin = twins(seed=1)
    twin.theirs.half().float()  # what float16 files keep
    write_original(TINY, state_of(twin), tmp_path, pickled=pickled)
    checkpoint = weights.load(tmp_path)
    assert checkpoint.layout == "original"
    assert compare(twin, checkpoint.model, 96, 96) < 1e-4


def test_native_layout_padded_vocabulary_and_long_positions(tmp_path: Path) -> None:
    config = with_text(TINY, vocab=128, positions=256)
    twin = twins(config, seed=2)
    folder = write_native(with_text(TINY, vocab=96, positions=64), state_of(twin), tmp_path)
    checkpoint = weights.load(folder)  # the tensors decide, as they do for the published large
    assert checkpoint.layout == "native"
    assert (checkpoint.model.config.text.vocab, checkpoint.model.config.text.positions) == (128, 256)
    assert compare(twin, checkpoint.model, 96, 96) < 1e-4


def test_an_untied_head_stays_untied(tmp_path: Path) -> None:
    twin = twins(seed=3)
    head = torch.randn(96, 48, generator=torch.Generator().manual_seed(0))
    checkpoint = weights.load(write_native(TINY, {**state_of(twin), "lm_head.weight": head}, tmp_path))
    assert torch.equal(checkpoint.model.lm_head.weight, head)
    assert torch.equal(checkpoint.model.embedding.weight, twin.ours.embedding.weight)


TIED = [f"model.language_model.{n}.weight" for n in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")]


@pytest.mark.parametrize("name", [*TIED, "lm_head.weight"])
def test_the_embedding_under_any_of_its_names(name: str) -> None:
    twin = twins(seed=4)
    state = state_of(twin)
    state[name] = state.pop("model.language_model.shared.weight")
    native, _ = weights.to_native(state)
    assert compare(twin, weights.build(TINY, native, "test"), 64, 64) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_files_of_any_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in state_of(twins(seed=5)).items()}
    model = weights.load(write_native(TINY, state, tmp_path)).model
    assert model.embedding.weight.dtype == torch.float32
    assert torch.equal(model.embedding.weight, state["model.language_model.shared.weight"].float())


def test_sharded_files(tmp_path: Path) -> None:
    twin = twins(seed=6)
    state = state_of(twin)
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    write_native(TINY, {}, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for file, held in shards.items():
        save_file({name: state[name] for name in held}, tmp_path / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert compare(twin, weights.load(tmp_path).model, 64, 64) < 1e-4


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 3}'])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    write_native(TINY, {}, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is not a readable index of weight files"):
        weights.load(tmp_path)


def drop(name: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k != name}


def add(name: str) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros(3)}


NORM = "model.language_model.encoder.layers.1.final_layer_norm.bias"
BROKEN: list[tuple[Callable[[State], State], str]] = [
    (drop(NORM), f"missing {NORM}"),
    (add("model.language_model.encoder.layers.7.fc1.bias"), "unknown model.language_model.encoder.layers.7.fc1.bias"),
    (drop(TIED[0]), "no token embedding"),
    (
        lambda state: {**state, NORM: torch.zeros(5)},
        r"final_layer_norm.bias has shape \(5,\); this network needs \(48,\)",
    ),
    (lambda state: {**state, TIED[1]: torch.zeros(96, 48)}, "differ; encoder and decoder share one embedding"),
    (lambda state: {**state, "lm_head.weight": torch.zeros(90, 48)}, r"lm_head has shape \(90, 48\)"),
    (lambda state: {**state, "final_logits_bias": torch.ones(1, 96)}, "final_logits_bias is not zero"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_checkpoint_of_another_network_names_the_tensor(tmp_path: Path, change: Any, message: str) -> None:
    folder = write_native(TINY, change(state_of(twins())), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        weights.load(folder)


def test_files_that_are_missing_truncated_or_hold_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "run",))  # type: ignore[return-value]

    with pytest.raises(CheckpointError, match=r"config\.json"):
        weights.load(tmp_path)
    folder = write_native(TINY, state_of(twins()), tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="truncated"):
        weights.load(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        weights.load(folder)
    torch.save({"weights": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a file of plain weights"):
        weights.load(folder)
    assert not (tmp_path / "run").exists()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(CheckpointError, match="does not describe a Florence-2"):
        weights.load(folder)


def test_saving_is_what_transformers_loads(tmp_path: Path) -> None:
    from transformers import Florence2ForConditionalGeneration

    twin = twins(seed=8)
    weights.save(twin.ours, tmp_path, dtype=torch.float32)
    theirs, said = Florence2ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"]
    assert compare(Twins(theirs.eval(), twin.ours), twin.ours, 96, 96) < 1e-4
    assert set(load_file(tmp_path / "model.safetensors")) == set(state_of(twin))


def test_an_image_larger_than_the_position_tables_is_refused() -> None:
    ours = twins(replace(TINY, vision=replace(TINY.vision, max_side=3))).ours
    with pytest.raises(UsageError, match="positions for 3x3"):
        ours.look(torch.zeros(1, 3, 128, 128))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["native", "original"])
def test_base_size_tokens_equal_transformers(tmp_path: Path, layout: str) -> None:
    """The whole published base size, from files of either layout: tokens equal."""
    from harness.florence2.decoding.generate import generate, padded
    from harness.florence2.decoding.search import Decoding

    twin = twins(with_text(BASE, vocab=51328 if layout == "native" else 51290), seed=9, spread=0.15)
    state = state_of(twin)
    if layout == "native":
        write_native(BASE, state, tmp_path)
    else:
        write_original(twin.ours.config, state, tmp_path)
        twin.theirs.half().float()
    ours = weights.load(tmp_path).model
    pixels, prompt, real, _ = inputs(ours.config, 768, 768, rows=1)
    with torch.inference_mode():
        memory = ours.read(ours.look(pixels), prompt, real)
        decoding = Decoding(beams=3, max_new_tokens=10)
        written = padded(generate(ours, memory, decoding), decoding)
        places, mask = with_image_tokens(twin, prompt, real, ours.config.image_tokens)
        expected = twin.theirs.generate(
            input_ids=places, attention_mask=mask, pixel_values=pixels, num_beams=3, max_new_tokens=10, do_sample=False,
            early_stopping=True, no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2,
            decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
        )  # fmt: skip
    assert torch.equal(written, expected)
