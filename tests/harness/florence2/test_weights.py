"""Loading and saving: checkpoints of every layout and file format give transformers' logits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import CheckpointError
from harness.florence2 import weights
from harness.florence2.config import BASE, Config, native_config, with_text
from tests.layouts import write_original
from tests.twins import TINY, Twins, difference, inputs, twins, with_image_tokens

State = dict[str, Tensor]


def state_of(twin: Twins) -> State:
    """transformers' state under native names, without aliases of the tied embedding."""
    tied = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    return {
        k: v.detach().clone() for k, v in twin.reference.state_dict().items() if not any(name in k for name in tied)
    }


def write_native(config: Config, state: State, folder: Path) -> Path:
    """Writes a checkpoint in the native layout, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(native_config(config)))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_original_layout_in_either_file_format_gives_transformers_logits(tmp_path: Path, pickled: bool) -> None:
    twin = twins(seed=1)
    twin.reference.half().float()  # rounded as in float16 files
    write_original(TINY, state_of(twin), tmp_path, pickled=pickled)
    checkpoint = weights.load(tmp_path)
    assert checkpoint.layout == "original"
    assert difference(twin, checkpoint.model, 96, 96) < 1e-9


def test_native_layout_with_padded_vocabulary_and_more_positions_takes_sizes_from_tensors(tmp_path: Path) -> None:
    config = with_text(TINY, vocab=128, positions=256)
    twin = twins(config, seed=2)
    folder = write_native(with_text(TINY, vocab=96, positions=64), state_of(twin), tmp_path)
    checkpoint = weights.load(folder)  # as in the published large checkpoint
    assert checkpoint.layout == "native"
    assert (checkpoint.model.config.text.vocab, checkpoint.model.config.text.positions) == (128, 256)
    assert difference(twin, checkpoint.model, 96, 96) < 1e-9


def test_untied_head_stays_untied(tmp_path: Path) -> None:
    twin = twins(seed=3)
    head = torch.randn(96, 48, generator=torch.Generator().manual_seed(0))
    checkpoint = weights.load(write_native(TINY, {**state_of(twin), "lm_head.weight": head}, tmp_path))
    assert torch.equal(checkpoint.model.lm_head.weight, head)
    assert torch.equal(checkpoint.model.embedding.weight, twin.ours.embedding.weight)


TIED = [f"model.language_model.{n}.weight" for n in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")]


@pytest.mark.parametrize("name", [*TIED, "lm_head.weight"])
def test_embedding_under_any_of_its_names_is_loaded(name: str) -> None:
    twin = twins(seed=4)
    state = state_of(twin)
    state[name] = state.pop("model.language_model.shared.weight")
    native, _ = weights.to_native(state)
    assert difference(twin, weights.build(TINY, native, "test"), 64, 64) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_file_of_any_precision_is_loaded_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in state_of(twins(seed=5)).items()}
    model = weights.load(write_native(TINY, state, tmp_path)).model
    assert model.embedding.weight.dtype == torch.float32
    assert torch.equal(model.embedding.weight, state["model.language_model.shared.weight"].float())


def test_sharded_files_give_transformers_logits(tmp_path: Path) -> None:
    twin = twins(seed=6)
    state = state_of(twin)
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    write_native(TINY, {}, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for file, names_in_file in shards.items():
        save_file({name: state[name] for name in names_in_file}, tmp_path / file)
    index = {"weight_map": {name: file for file, names_in_file in shards.items() for name in names_in_file}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert difference(twin, weights.load(tmp_path).model, 64, 64) < 1e-9


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 3}'])
def test_malformed_index_of_shards_is_a_checkpoint_error(text: str, tmp_path: Path) -> None:
    write_native(TINY, {}, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is not a readable index of weight files"):
        weights.load(tmp_path)


def drop(name: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k != name}


def add(name: str) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros(3)}


@pytest.mark.parametrize(("frames", "width"), [(1, 2), (5, 6)])
def test_sinusoids_equal_the_formula(frames: int, width: int) -> None:
    # Attention Is All You Need, section 3.5, without the published code's frequencies: rates are 10000 ** (-k / half).
    table, half = weights.sinusoids(frames, width), width // 2
    for frame in range(frames):
        for k in range(half):
            angle = frame * 10000 ** (-k / half)
            assert float(table[frame, 2 * k]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(table[frame, 2 * k + 1]) == pytest.approx(math.cos(angle), abs=1e-5)


def test_layers_built_without_initialisation_draw_no_random_number() -> None:
    before = torch.get_rng_state()
    with weights.SkipInitialisation():
        torch.nn.Linear(4, 4)
        torch.nn.Embedding(4, 4)
        torch.nn.Conv2d(4, 4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.nn.Linear(4, 4)
    assert not torch.equal(torch.get_rng_state(), before)


NORM = "model.language_model.encoder.layers.1.final_layer_norm.bias"
POSITIONS = "model.language_model.encoder.embed_positions.weight"
BROKEN: list[tuple[Callable[[State], State], str]] = [
    (drop(NORM), f"missing {NORM}"),
    (add("model.language_model.encoder.layers.7.fc1.bias"), "unknown model.language_model.encoder.layers.7.fc1.bias"),
    (drop(TIED[0]), "no token embedding"),
    (
        lambda state: {**state, NORM: torch.zeros(5)},
        r"final_layer_norm.bias has shape \(5,\); this network needs \(48,\)",
    ),
    (
        lambda state: {**state, TIED[0]: torch.zeros(96)},
        r"shared.weight has shape \(96,\); an embedding has two dimens",
    ),
    (
        lambda state: {**state, POSITIONS: torch.zeros(2)},
        r"embed_positions.weight has shape \(2,\); this network needs",
    ),
    (lambda state: {**state, TIED[1]: torch.zeros(96, 48)}, "differ; encoder and decoder share one embedding"),
    (lambda state: {**state, "lm_head.weight": torch.zeros(90, 48)}, r"lm_head has shape \(90, 48\)"),
    (lambda state: {**state, "final_logits_bias": torch.ones(1, 96)}, "final_logits_bias is not zero"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_checkpoint_of_another_network_is_an_error_that_names_the_tensor(
    tmp_path: Path, change: Any, message: str
) -> None:
    folder = write_native(TINY, change(state_of(twins())), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        weights.load(folder)


def test_parts_of_a_packed_product_are_checked_before_they_are_copied() -> None:
    """An expanded tensor takes no memory until it is copied; this one would take 4 PB."""
    state = state_of(twins())
    name = "model.language_model.encoder.layers.0.self_attn.k_proj.weight"
    state[name] = torch.zeros(1, 1).expand(2**25, 2**25)
    with pytest.raises(CheckpointError, match=r"k_proj\.weight has shape \(33554432, 33554432\); .* needs \(48, 48\)"):
        weights.build(TINY, state, "test")


def test_file_that_is_missing_truncated_or_has_code_is_a_checkpoint_error(tmp_path: Path) -> None:
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
    with pytest.raises(CheckpointError, match="has no weights"):
        weights.load(folder)
    torch.save({"weights": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a file of plain weights"):
        weights.load(folder)
    assert not (tmp_path / "run").exists()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(CheckpointError, match="does not describe a Florence-2"):
        weights.load(folder)


def test_saved_checkpoint_is_loaded_by_transformers(tmp_path: Path) -> None:
    from transformers import Florence2ForConditionalGeneration

    twin = twins(seed=8)
    weights.save(twin.ours, tmp_path, dtype=torch.float32)
    loaded, report = Florence2ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert difference(Twins(loaded.eval(), twin.ours), twin.ours, 96, 96) < 1e-9
    assert set(load_file(tmp_path / "model.safetensors")) == set(state_of(twin))


@pytest.mark.slow
def test_base_size_from_the_original_layout_generates_transformers_tokens(tmp_path: Path) -> None:
    from harness.florence2.decoding.generate import generate, padded
    from harness.florence2.decoding.search import Decoding

    twin = twins(with_text(BASE, vocab=51290), seed=9, spread=0.15)
    write_original(twin.ours.config, state_of(twin), tmp_path)
    twin.reference.half().float()
    ours = weights.load(tmp_path).model
    pixels, prompt, real, _ = inputs(ours.config, 768, 768, rows=1)
    with torch.inference_mode():
        memory = ours.encode(ours.encode_image(pixels), prompt, real)
        decoding = Decoding(beams=3, max_new_tokens=10)
        generated = padded(generate(ours, memory, decoding), decoding)
        ids, mask = with_image_tokens(twin, prompt, real, ours.config.image_tokens)
        expected = twin.reference.generate(
            input_ids=ids, attention_mask=mask, pixel_values=pixels, num_beams=3, max_new_tokens=10, do_sample=False,
            early_stopping=True, no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2,
            decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
        )  # fmt: skip
    assert torch.equal(generated, expected)
