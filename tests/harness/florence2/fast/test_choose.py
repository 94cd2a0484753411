"""Which form each part takes: all of them, on the same weights, and nearer or further from float32 by precision."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import baselines
import tasks
from baselines.florence2 import load_parts
from benchmarks import agreement
from harness import runner
from harness.errors import ResourceError
from harness.evaluation.plan import load
from harness.florence2.fast.choose import FAST, accelerated, trainable
from harness.florence2.fast.linear import Head, Linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear, HalfLinear, Int8Linear
from harness.florence2.fast.training import Bfloat16Linear
from harness.florence2.fast.vision import ChannelAttention
from harness.florence2.model import Florence2
from tasks.miniature import ensure
from tests.harness.florence2.test_weights import compare
from tests.twins import fast, twins

CPU = torch.device("cpu")
FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


# Sides whose maps do not divide into windows are among them, and an image that is not square.
@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 64), (160, 96), (33, 47)])
def test_forward_in_fast_forms_equals_transformers(height: int, width: int) -> None:
    twin = twins(seed=height + width)
    assert compare(twin, fast(twin.ours), height, width) < 1e-4


def test_every_part_takes_its_fast_form_and_keeps_its_parameters() -> None:
    model = twins().ours
    before, weights = copy.deepcopy(model), dict(model.named_parameters(remove_duplicate=False))
    found = accelerated(model, CPU, torch.float32)
    assert found is model
    assert not [name for name, part in model.named_modules() if type(part) in FAST]
    assert isinstance(model.lm_head, Head)
    assert {type(part) for part in model.modules()} >= set(FAST.values())
    after = dict(model.named_parameters(remove_duplicate=False))
    assert list(after) == list(weights)
    assert all(after[name] is weight for name, weight in weights.items())
    assert after["lm_head.weight"] is after["embedding.weight"]
    assert list(model.state_dict()) == list(before.state_dict())
    parts = dict(model.named_modules())
    again = dict(accelerated(model, CPU, torch.float32).named_modules())
    assert all(again[name] is part for name, part in parts.items())


def test_fast_forms_are_copied_moved_and_loaded_as_the_plain_network_is() -> None:
    twin = twins(seed=2)
    model = fast(twin.ours)
    assert compare(twin, model, 96, 96) < 1e-4  # weights in blocks are made
    other = copy.deepcopy(model)
    assert [type(part) for part in other.modules()] == [type(part) for part in model.modules()]
    assert other.lm_head.weight is other.embedding.weight
    with torch.no_grad():
        other.decoder.layers[0].mlp.up.weight.zero_()
    assert compare(twin, model, 96, 96) < 1e-4  # a copy has weights of its own
    assert compare(twin, other, 96, 96) > 1e-2
    other.load_state_dict(twin.ours.state_dict())
    assert compare(twin, other, 96, 96) < 1e-4
    assert {weight.dtype for weight in other.to(torch.float64).parameters()} == {torch.float64}
    assert {weight.device.type for weight in other.to("meta").parameters()} == {"meta"}


def test_hooks_of_a_plain_part_are_called_in_its_fast_form() -> None:
    model = twins().ours
    seen: list[str] = []
    model.vision.register_forward_pre_hook(lambda part, _: seen.append(type(part).__module__))
    accelerated(model, CPU, torch.float32)
    with torch.inference_mode():
        model.look(torch.zeros(1, 3, 64, 64))
    assert seen == ["harness.florence2.fast.vision"]


def kinds(module: nn.Module) -> set[type[nn.Module]]:
    """The types of its linear maps."""
    return {type(part) for part in module.modules() if isinstance(part, nn.Linear)}


def test_training_in_bfloat16_on_a_cpu_has_its_own_linear_maps_and_any_other_plain_ones() -> None:
    model = twins().ours
    names = list(model.state_dict())
    assert trainable(model, "float32") is model
    assert kinds(model) == {nn.Linear}
    assert isinstance(model.vision.stages[0].blocks[1].attention, ChannelAttention)
    trainable(model, "bfloat16")
    assert kinds(model) == {Bfloat16Linear}
    trainable(model, "float32")
    assert kinds(model) == {nn.Linear}
    assert kinds(trainable(copy.deepcopy(model).to("meta"), "bfloat16")) == {nn.Linear}  # a GPU's is autocast
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(("precision", "far"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_gradients_of_the_forms_for_training_are_near_the_plain_networks(precision: str, far: float) -> None:
    plain = twins(seed=5, spread=0.1).ours.requires_grad_(True)
    model = trainable(copy.deepcopy(plain), precision)
    draw = torch.Generator().manual_seed(0)
    given = (
        torch.randn(2, 3, 96, 64, generator=draw), torch.randint(4, 90, (2, 5), generator=draw), None,
        torch.randint(4, 90, (2, 6), generator=draw),
    )  # fmt: skip

    def gradient(network: Florence2) -> Tensor:
        network(*given).log_softmax(-1)[..., 5].mean().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    expected, found = gradient(plain), gradient(model)
    assert found.shape == expected.shape
    assert (found - expected).norm() < far * expected.norm()


@pytest.mark.parametrize("fbgemm", [True, False])
def test_every_linear_map_of_a_model_outside_channel_attention(fbgemm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fbgemm:
        monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn"])
    elif not FBGEMM:
        pytest.skip("this torch has no FBGEMM")
    model = twins().ours
    exact = copy.deepcopy(model)
    accelerated(model, CPU, torch.int8)
    left = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    channels = [name for name, module in model.named_modules() if isinstance(module, ChannelAttention)]
    assert left == [f"{name}.{part}" for name in channels for part in ("qkv", "proj")]
    writing = HalfLinear if fbgemm else Int8Linear
    assert isinstance(model.lm_head, writing)
    assert isinstance(model.decoder.layers[0].mlp.up, writing)
    assert isinstance(model.decoder.memory, Int8Linear)
    torch.manual_seed(2)
    given = torch.randn(2, 3, 96, 96), torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6))
    with torch.inference_mode():
        one, other = model(*given), exact(*given)
    assert (one - other).norm() / other.norm() < 0.15  # random weights at full spread, two layers each


def test_a_torch_without_the_kernel_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "onednn", object())
    with pytest.raises(ResourceError, match="--dtype float32"):
        accelerated(twins().ours, CPU, torch.int8)


def test_float8_leaves_the_vocabulary_and_odd_sizes_and_runs_as_a_whole() -> None:
    model = twins().ours
    exact = copy.deepcopy(model)
    accelerated(model, CPU, FLOAT8)
    left = [module for module in model.modules() if isinstance(module, Linear)]
    assert model.lm_head in left
    assert any(isinstance(module, Float8Linear) for module in model.modules())
    torch.manual_seed(2)
    pixels, rest = torch.randn(2, 3, 96, 96), (torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6)))
    with torch.inference_mode():
        one, other = model(pixels.bfloat16(), *rest), exact(pixels, *rest)
    assert (one - other).norm() / other.norm() < 0.3


def test_bfloat16_is_the_towers_and_texts_are_in_more() -> None:
    model = accelerated(twins().ours, CPU, torch.bfloat16)
    parts = dict(model.named_children())
    found = {name: {weight.dtype for weight in part.parameters()} for name, part in parts.items()}
    assert found.pop("vision") == found.pop("fusion") == {torch.bfloat16}
    if FBGEMM:
        assert isinstance(model.lm_head, HalfLinear) and not found.pop("lm_head")
    assert all(kinds == {torch.float32} for kinds in found.values()) and len(found) == 4 - FBGEMM


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_on_the_embedded_benchmarks_tasks(dtype: torch.dtype) -> None:
    """Of the likeliest next tokens, both given float32's answers to questions of seven tasks, 99 in 100 are alike."""
    folder, root = baselines.find("florence2-nano-ft").checkpoint(None), ensure()
    exact, less = load_parts(folder), load_parts(folder)
    accelerated(less.model, CPU, dtype)
    with torch.inference_mode():
        batches = []
        for name in agreement.TASKS:
            [task] = tasks.select(name)
            batches.append(agreement.asked(exact, runner.choose(load(task, root, task.splits[0]), 20, 0)[:20], root))
        expected = [agreement.likeliest(exact, batch, torch.float32) for batch in batches]
        found = agreement.compared(less, batches, expected)
    assert found["places"] > 2000 and found["all"] >= 99 and found["words"] >= 99.5


@pytest.mark.slow
def test_scores_in_half_precision_are_within_the_interval_of_float32s(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    """Headlines of captions, boxes, outlines and answers about twenty images of the embedded benchmark."""
    run = ("run", "--task", "coco_caption,refcoco,refcoco_res,vqav2", "--limit", "20", "--no-meteor", "--json")
    headlines = {}
    for dtype in ("float32", "bfloat16", "float16"):
        status, out, _ = call(*run, "--model", "florence2-nano-ft", "--dtype", dtype)
        assert status == 0
        headlines[dtype] = {one["spec"]["task"]: one["metrics"][one["headline"]] for one in json.loads(out)}
    for task, exact in headlines["float32"].items():
        for dtype in ("bfloat16", "float16"):
            assert exact["low"] <= headlines[dtype][task]["value"] <= exact["high"]


def test_a_device_without_float8_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("torch._scaled_mm is only supported on devices with compute capability >= 8.9\nmore")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    with pytest.raises(ResourceError, match=r"cpu does not multiply float8 \(.* >= 8.9\); try --dtype bfloat16"):
        accelerated(twins().ours, CPU, FLOAT8)
