"""State dicts as training tools leave them, and tensors that cannot be weights."""

from __future__ import annotations

import json
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.errors import CheckpointError
from harness.florence2 import tensors, weights
from harness.florence2.config import native_config
from tests.layouts import original_state
from tests.twins import TINY, Twins, difference, twins

State = dict[str, Tensor]


def config_only(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(native_config(TINY)))
    return folder


class Wrapper(nn.Module):
    """A module with the network as one of its attributes, as a Lightning module has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def compiled(network: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.compile(network)  # type: ignore[return-value]


def half_compiled(network: Any) -> nn.Module:
    network.model.vision_tower = compiled(network.model.vision_tower)
    whole: nn.Module = network
    return whole


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "DataParallel": (nn.DataParallel, "the prefix 'module.' of tensor names was removed"),
    "compiled": (compiled, "as in _orig_mod."),
    "compiled in DataParallel": (lambda network: nn.DataParallel(compiled(network)), "the prefix 'module.'"),
    "vision compiled": (half_compiled, "as in model.vision_tower._orig_mod."),
    "attribute": (Wrapper, "the prefix 'network.'"),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_state_dict_of_a_wrapped_network_gives_transformers_logits(name: str, tmp_path: Path) -> None:
    wrap, note = WRAPPERS[name]
    twin = twins(seed=1)
    torch.save(wrap(twin.reference).state_dict(), config_only(tmp_path) / "pytorch_model.bin")
    checkpoint = weights.load(tmp_path)
    assert any(note in line for line in checkpoint.notes)
    fresh = twins(seed=1)  # the network above is wrapped in place
    assert difference(Twins(fresh.reference, checkpoint.model), checkpoint.model, 96, 96) < 1e-9


def test_original_layout_under_a_native_prefix_gives_transformers_logits(tmp_path: Path) -> None:
    """`model.` precedes every native name too; here it is an attribute of the user's module."""
    twin = twins(seed=2)
    native = {name: tensor for name, tensor in twin.reference.state_dict().items() if "embed_tokens" not in name}
    state = {f"model.{name}": tensor for name, tensor in original_state(native).items() if "lm_head" not in name}
    torch.save(state, config_only(tmp_path) / "pytorch_model.bin")
    checkpoint = weights.load(tmp_path)
    assert (checkpoint.layout, checkpoint.notes) == ("original", ("the prefix 'model.' of tensor names was removed",))
    assert difference(twin, checkpoint.model, 96, 96) < 1e-9


def test_base_model_prefix_of_peft_gives_transformers_logits(tmp_path: Path) -> None:
    """The state dict of a PEFT model after merge, which keeps the prefix."""
    twin = twins(seed=3)
    state = {f"base_model.model.{name}": tensor for name, tensor in twin.reference.state_dict().items()}
    torch.save(state, config_only(tmp_path) / "pytorch_model.bin")
    assert difference(twin, weights.load(tmp_path).model, 96, 96) < 1e-9


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_state_dict_as_an_entry_of_a_training_state_is_read(key: str, tmp_path: Path) -> None:
    twin = twins(seed=4)
    whole = {key: twin.reference.state_dict(), "epoch": 3, "optimizer": {"state": {0: torch.zeros(2)}}, "args": None}
    torch.save(whole, config_only(tmp_path) / "pytorch_model.bin")
    checkpoint = weights.load(tmp_path)
    assert checkpoint.notes == (f"pytorch_model.bin holds the tensors under '{key}'",)
    assert difference(twin, checkpoint.model, 96, 96) < 1e-9


def test_sharded_bin_files_give_transformers_logits(tmp_path: Path) -> None:
    twin = twins(seed=5)
    state = dict(twin.reference.state_dict())
    index: dict[str, str] = {}
    for number in range(3):
        names = sorted(state)[number::3]
        file = f"pytorch_model-{number + 1:05}-of-00003.bin"
        torch.save({name: state[name] for name in names}, tmp_path / file)
        index |= dict.fromkeys(names, file)
    (config_only(tmp_path) / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert difference(twin, weights.load(tmp_path).model, 96, 96) < 1e-9
    (tmp_path / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00003\.bin does not exist, but the folder's index names it"):
        weights.load(tmp_path)


def test_shards_that_transformers_writes_give_its_logits(tmp_path: Path) -> None:
    twin = twins(seed=6)
    twin.reference.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert difference(twin, weights.load(tmp_path).model, 96, 96) < 1e-9


def test_tensor_in_two_shards_is_a_checkpoint_error(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        torch.save({"x": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"b\.bin holds x, which another of the weight files holds too"):
        tensors.read_state([tmp_path / "a.bin", tmp_path / "b.bin"])


def quantised() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates these
        return torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)


UNUSABLE: dict[str, tuple[Callable[[], Tensor], str]] = {
    "int64": (lambda: torch.zeros(2, dtype=torch.int64), "has the type int64; weights are float16, bfloat16, float32"),
    "uint8": (lambda: torch.zeros(2, dtype=torch.uint8), "has the type uint8; .* give the weights before quantisation"),
    "int8": (lambda: torch.zeros(2, dtype=torch.int8), "has the type int8"),
    "bool": (lambda: torch.zeros(2, dtype=torch.bool), "has the type bool; weights are"),
    "complex": (lambda: torch.zeros(2, dtype=torch.complex64), "has the type complex64; weights are"),
    "float8": (lambda: torch.zeros(2).to(torch.float8_e4m3fn), "has the type float8_e4m3fn"),
    "0-d": (lambda: torch.tensor(1.0), "is a single number, not a table"),
    "quantised": (quantised, r"is quantised \(torch\.qint8\): give the weights before quantisation"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "has the layout torch.sparse_coo; weights are dense"),
    "expanded": (
        lambda: torch.zeros(1, 1).expand(2**20, 2**20),
        r"has the shape \(1048576, 1048576\), but fewer values",
    ),
    "meta": (lambda: torch.empty(2, device="meta"), "has no values: its device is meta"),
}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # torch, on loading a quantised tensor
@pytest.mark.parametrize("kind", UNUSABLE)
def test_tensor_that_is_no_weight_is_a_checkpoint_error_that_names_it(kind: str, tmp_path: Path) -> None:
    make, message = UNUSABLE[kind]
    torch.save({"first": torch.zeros(2), "second": make()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin: second {message}"):
        tensors.read_state([tmp_path / "pytorch_model.bin"])


@pytest.mark.parametrize("dtype", tensors.FLOATS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_tensor_with_nan_or_infinity_is_an_error_that_names_it_and_counts_them(
    dtype: torch.dtype, value: float, tmp_path: Path
) -> None:
    """The first of a million values, one inside, and the last; among finite ones as large as the type has."""
    second = torch.full((1000, 1000), min(torch.finfo(dtype).max, tensors.LARGEST), dtype=torch.float64)
    state = {"first": second.to(dtype, copy=True), "third": torch.full((2,), value).to(dtype)}
    second[0, 0] = second[500, 3] = second[-1, -1] = value
    save_file({**state, "second": second.to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: second has 3 of 1,000,000 values that are NaN"):
        tensors.read_state([tmp_path / "model.safetensors"])


def test_float64_beyond_float32_is_refused_and_its_largest_value_is_not(tmp_path: Path) -> None:
    largest = 3.4028234663852886e38  # (2 - 2**-23) * 2**127
    torch.save({"x": torch.tensor([largest, -largest], dtype=torch.float64)}, tmp_path / "a.bin")
    assert tensors.read_state([tmp_path / "a.bin"]).tensors["x"].float().isfinite().all()
    torch.save({"x": torch.tensor([1e39, 0.0], dtype=torch.float64)}, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="x has 1 of 2 values that are NaN, infinite or beyond float32"):
        tensors.read_state([tmp_path / "a.bin"])


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_tensor_without_values_has_none_that_is_not_finite(shape: tuple[int, ...]) -> None:
    assert tensors.not_finite(torch.empty(shape)) == 0


def test_whole_checkpoint_of_integers_in_safetensors_is_refused(tmp_path: Path) -> None:
    state = {name: tensor.to(torch.int32) for name, tensor in twins().reference.state_dict().items()}
    save_file({name: tensor.clone() for name, tensor in state.items()}, config_only(tmp_path) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .* has the type int32"):
        weights.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({0: torch.zeros(2)}, "names a tensor 0; names are text"),
        ({"a": torch.zeros(2), 7: torch.zeros(2)}, "names a tensor 7; names are text"),
        ([torch.zeros(2)], "holds a list, not a table of tensors by name"),
        (torch.zeros(2), "holds a Tensor, not a table"),
        ({}, "holds nothing; a table of tensors by name is expected"),
        ({"epoch": 3, "ema": {"x": torch.zeros(2)}}, "holds 'epoch', 'ema'; a table .* under one of model, state_dict"),
        ({"model": {"x": torch.zeros(2)}, "state_dict": {"x": torch.zeros(2)}}, "holds 'model', 'state_dict'; a table"),
        ({"model": {"x": torch.zeros(2), "step": 3}}, "holds 'model'; a table of tensors"),
        ({f"k{i}": i for i in range(9)}, "'k5' and 3 more"),
    ],
)
def test_file_without_a_table_of_tensors_is_an_error_that_names_what_it_holds(
    content: Any, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        tensors.read_state([tmp_path / "pytorch_model.bin"])


def test_whole_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"not a file of plain weights, such as torch\.save\(model\.state_dict\(\)"
    ):
        tensors.read_state([tmp_path / "pytorch_model.bin"])


ANCHOR = "model.language_model.encoder.layernorm_embedding.weight"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"student.{ANCHOR}", f"teacher.{ANCHOR}"], r"holds 2 networks, under 'student\.' and 'teacher\.'"),
        ([f"module.{ANCHOR}", "step.x"], r"the network under 'module\.', and 1 tensors beside it, such as step\.x"),
        ([f"a.{ANCHOR}", f"a._orig_mod.{ANCHOR}"], "both with and without the parts of names that wrappers insert"),
        (["x.q_proj.lora_A.default.weight"], r"an adapter that is not merged; save them after merge_and_unload\(\)"),
        (["x.q_proj.base_layer.weight"], "an adapter that is not merged"),
    ],
)
def test_names_of_more_than_one_network_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        tensors.without_prefix({name: torch.zeros(2) for name in names}, "x")


def test_names_without_a_known_tensor_are_unchanged() -> None:
    state = OrderedDict(a=torch.zeros(2), orig_mod_b=torch.ones(2))
    assert tensors.without_prefix(state, "x") == (dict(state), [])
