"""The form of each module by device and precision, on the same weights, and its error versus float32."""

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
from harness.florence2.fast import choose, quantised
from harness.florence2.fast.choose import FAST, accelerated, trainable
from harness.florence2.fast.linear import Head, Linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear, HalfLinear, Int8Linear, ShortlistHead, largest_weight
from harness.florence2.fast.training import Bfloat16Linear
from harness.florence2.fast.vision import ChannelAttention
from harness.florence2.model import Florence2
from tasks.miniature import ensure
from tests.twins import difference, fast, rounding_errors, twins

CPU = torch.device("cpu")
FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


# Some sides have maps that do not divide into windows, and some images are not square.
@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 64), (160, 96), (33, 47)])
def test_forward_in_fast_forms_rounds_no_more_than_transformers(height: int, width: int) -> None:
    """Only the order of additions differs; 4 is a margin for the largest of some 1,300 errors."""
    twin = twins(seed=height + width)
    assert rounding_errors(twin, fast(twin.ours), height, width) < 4


def test_forward_in_fast_forms_in_float64_equals_transformers() -> None:
    """But for the vocabulary's scores, which are float32: of at most 16, they are off by at most 49 eps of 16."""
    twin = twins(seed=1)
    assert difference(twin, fast(twin.ours), 96, 96) < 1e-4


def test_every_module_takes_its_fast_form_and_keeps_its_parameters() -> None:
    model = twins().ours
    before, weights = copy.deepcopy(model), dict(model.named_parameters(remove_duplicate=False))
    assert accelerated(model, CPU, torch.float32) is model
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


def test_fast_forms_are_copied_moved_and_loaded_like_the_plain_network() -> None:
    twin = twins(seed=2)
    model = fast(twin.ours)
    assert rounding_errors(twin, model, 96, 96) < 4  # weights are packed now
    other = copy.deepcopy(model)
    assert [type(part) for part in other.modules()] == [type(part) for part in model.modules()]
    assert other.lm_head.weight is other.embedding.weight
    with torch.no_grad():
        other.decoder.layers[0].mlp.up.weight.zero_()
    assert rounding_errors(twin, model, 96, 96) < 4  # the copy has its own weights
    assert rounding_errors(twin, other, 96, 96) > 1000
    other.load_state_dict(twin.ours.state_dict())
    assert rounding_errors(twin, other, 96, 96) < 4
    assert {weight.dtype for weight in other.to(torch.float64).parameters()} == {torch.float64}
    assert {weight.device.type for weight in other.to("meta").parameters()} == {"meta"}


def test_hook_of_a_plain_module_is_called_in_its_fast_form() -> None:
    model = twins().ours
    seen: list[str] = []
    model.vision.register_forward_pre_hook(lambda part, _: seen.append(type(part).__module__))
    accelerated(model, CPU, torch.float32)
    with torch.inference_mode():
        model.encode_image(torch.zeros(1, 3, 64, 64))
    assert seen == ["harness.florence2.fast.vision"]


def kinds(module: nn.Module) -> set[type[nn.Module]]:
    """The types of its linear maps."""
    return {type(part) for part in module.modules() if isinstance(part, nn.Linear)}


def test_training_in_bfloat16_on_a_cpu_has_bfloat16_maps_and_other_training_has_plain_ones() -> None:
    model = twins().ours
    names = list(model.state_dict())
    assert trainable(model, "float32") is model
    assert kinds(model) == {nn.Linear}
    assert isinstance(model.vision.stages[0].blocks[1].attention, ChannelAttention)
    trainable(model, "bfloat16")
    assert kinds(model) == {Bfloat16Linear}
    trainable(model, "float32")
    assert kinds(model) == {nn.Linear}
    assert kinds(trainable(copy.deepcopy(model).to("meta"), "bfloat16")) == {
        nn.Linear
    }  # autocast sets a GPU's precision
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_gradients_of_the_forms_for_training_are_near_the_plain_networks(precision: str, bound: float) -> None:
    plain = twins(seed=5, spread=0.1).ours.requires_grad_(True)
    model = trainable(copy.deepcopy(plain), precision)
    generator = torch.Generator().manual_seed(0)
    batch = (
        torch.randn(2, 3, 96, 64, generator=generator), torch.randint(4, 90, (2, 5), generator=generator), None,
        torch.randint(4, 90, (2, 6), generator=generator),
    )  # fmt: skip

    def gradient(network: Florence2) -> Tensor:
        network(*batch).log_softmax(-1)[..., 5].mean().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    expected, computed = gradient(plain), gradient(model)
    assert computed.shape == expected.shape
    # float32 and bfloat16 have 24 and 8 bits; the gradient passes forty products in either direction.
    assert (computed - expected).norm() < bound * expected.norm()


@pytest.mark.parametrize(("fbgemm", "vnni"), [(True, True), (True, False), (False, True)])
def test_int8_replaces_every_linear_map_outside_channel_attention(
    fbgemm: bool, vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (choose, quantised):  # without VNNI, rounded weights are smaller
        monkeypatch.setattr(module, "largest_weight", lambda: min(largest_weight(), 127 if vnni else 63))
    vnni = vnni and largest_weight() == 127
    if not fbgemm:
        monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn"])
    elif not FBGEMM:
        pytest.skip("this torch has no FBGEMM")
    model = twins().ours
    exact = copy.deepcopy(model)
    accelerated(model, CPU, torch.int8)
    remaining = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    channels = [name for name, module in model.named_modules() if isinstance(module, ChannelAttention)]
    assert remaining == [f"{name}.{part}" for name in channels for part in ("qkv", "proj")]
    decoding = HalfLinear if fbgemm else Int8Linear
    assert isinstance(model.lm_head, Int8Linear if not fbgemm else ShortlistHead if vnni else HalfLinear)
    assert isinstance(model.decoder.layers[0].mlp.up, decoding)
    assert isinstance(model.decoder.memory, Int8Linear)
    torch.manual_seed(2)
    batch = torch.randn(2, 3, 96, 96), torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6))
    with torch.inference_mode():
        computed, expected = model(*batch), exact(*batch)
    # An int8 product is off by about 1 %, with 7-bit weights by 2 %, and random weights amplify errors.
    assert (computed - expected).norm() / expected.norm() < 0.15


def test_int8_without_onednn_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "onednn", object())
    with pytest.raises(ResourceError, match="--dtype float32"):
        accelerated(twins().ours, CPU, torch.int8)


def test_float8_replaces_linear_maps_except_the_vocabularys_and_the_network_runs() -> None:
    model = twins().ours
    exact = copy.deepcopy(model)
    accelerated(model, CPU, FLOAT8)
    remaining = [module for module in model.modules() if isinstance(module, Linear)]
    assert model.lm_head in remaining
    assert any(isinstance(module, Float8Linear) for module in model.modules())
    torch.manual_seed(2)
    pixels, rest = torch.randn(2, 3, 96, 96), (torch.randint(4, 90, (2, 5)), None, torch.randint(4, 90, (2, 6)))
    with torch.inference_mode():
        computed, expected = model(pixels.bfloat16(), *rest), exact(pixels, *rest)
    # e4m3 has 4 bits, so a factor is off by up to 6 %, and random weights amplify errors.
    assert (computed - expected).norm() / expected.norm() < 0.3


def test_bfloat16_on_a_cpu_is_the_precision_of_the_vision_tower_alone() -> None:
    model = accelerated(twins().ours, CPU, torch.bfloat16)
    parts = dict(model.named_children())
    dtypes = {name: {weight.dtype for weight in part.parameters()} for name, part in parts.items()}
    assert dtypes.pop("vision") == dtypes.pop("fusion") == {torch.bfloat16}
    if FBGEMM:
        assert isinstance(model.lm_head, ShortlistHead | HalfLinear) and not dtypes.pop("lm_head")
    assert all(kinds == {torch.float32} for kinds in dtypes.values()) and len(dtypes) == 4 - FBGEMM


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_the_likeliest_tokens_of_float32_on_the_embedded_benchmark(dtype: torch.dtype) -> None:
    """At least 99 of 100 likeliest next tokens agree, by teacher forcing of float32's answers to seven tasks."""
    folder, root = baselines.find("florence2-nano-ft").checkpoint(None), ensure()
    exact, less = load_parts(folder), load_parts(folder)
    accelerated(less.model, CPU, dtype)
    with torch.inference_mode():
        batches = []
        for name in agreement.TASKS:
            [task] = tasks.select(name)
            batches.append(agreement.batch_of(exact, runner.choose(load(task, root, task.splits[0]), 20, 0)[:20], root))
        expected = [agreement.most_likely(exact, batch, torch.float32) for batch in batches]
        percent = agreement.agreement(less, batches, expected)
    assert percent["places"] > 2000 and percent["all"] >= 99 and percent["words"] >= 99.5


@pytest.mark.slow
def test_headlines_in_half_precision_are_within_float32s_intervals(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    """Headline metrics of captions, boxes, outlines and VQA on twenty images of the embedded benchmark."""
    run = ("run", "--task", "coco_caption,refcoco,refcoco_res,vqav2", "--limit", "20", "--no-meteor", "--json")
    headlines = {}
    for dtype in ("float32", "bfloat16", "float16"):
        status, out, _ = call(*run, "--model", "florence2-nano-ft", "--dtype", dtype)
        assert status == 0
        headlines[dtype] = {record["spec"]["task"]: record["metrics"][record["headline"]] for record in json.loads(out)}
    for task, exact in headlines["float32"].items():
        for dtype in ("bfloat16", "float16"):
            assert exact["low"] <= headlines[dtype][task]["value"] <= exact["high"]


def test_float8_on_a_device_without_it_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("torch._scaled_mm is only supported on devices with compute capability >= 8.9\nmore")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    with pytest.raises(ResourceError, match=r"cpu does not multiply float8 \(.* >= 8.9\); try --dtype bfloat16"):
        accelerated(twins().ours, CPU, FLOAT8)
