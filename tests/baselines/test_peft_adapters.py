"""Adapters of other tools: layouts of older transformers, and everything that PEFT itself would let pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PaliGemmaForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

from baselines.entry import Setting
from baselines.paligemma import ENTRIES
from harness.errors import CheckpointError, HarnessError, ResourceError
from tests.baselines import test_paligemma as paligemma
from tests.baselines import test_qwen_vl as qwen_vl

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's use
PT = {entry.name: entry for entry in ENTRIES}["paligemma-3b-pt-224"]
QWEN = qwen_vl.ENTRIES["qwen2.5-vl-3b"]
TARGETS = ["q_proj", "down_proj"]
MODULE = "model.language_model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paligemma.save(tmp_path_factory.mktemp("base"), "gemma")


def adapted(model: Any, base: Path, to: Path, **settings: Any) -> Any:
    """A model with a random adapter, which is saved by PEFT; `base` is named in its settings."""
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 6, "target_modules": TARGETS, **settings})
    wrapped = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(to)
    return wrapped.eval()


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    adapted(PaliGemmaForConditionalGeneration.from_pretrained(base), base, tmp_path / "adapter")
    return tmp_path / "adapter"


def rewrite(adapter: Path, change: Callable[[dict[str, Any]], dict[str, Any]], **settings: Any) -> None:
    """Changes the tensors and the settings of an adapter."""
    file = adapter / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def weight(model: Any, module: str) -> torch.Tensor:
    tensor: torch.Tensor = model.loaded.model.get_submodule(module).weight
    return tensor


def loaded(weights: Path, entry: Any = PT) -> Any:
    return entry.load(Setting(weights=str(weights), device="cpu"))


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 10}}, {"use_dora": True}])
def test_merged_weights_equal_those_of_peft(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    wrapped = adapted(PaliGemmaForConditionalGeneration.from_pretrained(base), base, tmp_path / "a", **settings)
    theirs = wrapped.merge_and_unload()
    ours = loaded(tmp_path / "a")
    for name, tensor in theirs.named_parameters():
        torch.testing.assert_close(ours.loaded.model.get_parameter(name), tensor, rtol=1e-5, atol=1e-6)
    assert (weight(ours, MODULE) - weight(loaded(base), MODULE)).abs().max() > 0.01


@pytest.mark.parametrize("bin_file", [False, True])
def test_adapter_of_the_layout_before_transformers_4_52_is_the_same_adapter(
    adapter: Path, tmp_path: Path, bin_file: bool
) -> None:
    """PaliGemma's was `language_model.model.layers`; SigLIP's tower had one more level.  Ranks are of each module."""
    expected = loaded(adapter)

    def older(tensors: dict[str, Any]) -> dict[str, Any]:
        names = {
            name: name.replace("model.model.language_model.", "model.language_model.model.").replace(
                "model.model.vision_tower.", "model.vision_tower.vision_model."
            )
            for name in tensors
        }
        assert all(old != new for old, new in names.items())
        return {names[name]: tensor for name, tensor in tensors.items()}

    rewrite(adapter, older, target_modules=r".*language_model\.model\.layers.*")
    if bin_file:
        file = adapter / "adapter_model.safetensors"
        torch.save(load_file(file), adapter / "adapter_model.bin")
        file.unlink()
    for module in (MODULE, "model.vision_tower.encoder.layers.0.self_attn.q_proj"):
        torch.testing.assert_close(weight(loaded(adapter), module), weight(expected, module), rtol=0, atol=0)


def test_adapter_of_qwen_of_the_older_layout_is_the_same_adapter(tmp_path: Path) -> None:
    """Qwen2.5-VL's was `model.layers` and `visual`."""
    folder = tmp_path / "base"
    folder.mkdir()
    qwen_vl.save(folder, "qwen2.5")
    targets = ["q_proj", "attn.qkv"]
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    adapted(model, folder, tmp_path / "a", target_modules=targets)
    expected = loaded(tmp_path / "a", QWEN)
    rewrite(tmp_path / "a", lambda tensors: {
        name.replace(".model.language_model.", ".model.").replace(".model.model.visual.", ".model.visual."): x
        for name, x in tensors.items()
    })  # fmt: skip
    for module in (MODULE, "model.visual.blocks.0.attn.qkv"):
        torch.testing.assert_close(
            weight(loaded(tmp_path / "a", QWEN), module), weight(expected, module), rtol=0, atol=0
        )


def first(tensors: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor], part: str = "") -> dict[str, Any]:
    """The tensors, the first of which (with `part` in its name) is changed."""
    name = next(name for name in tensors if part in name)
    return {**tensors, name: change(tensors[name]).contiguous()}


@pytest.mark.parametrize(("change", "settings", "message"), [
    (lambda t: first(t, lambda x: x * float("nan")), {}, "values that are NaN, infinite"),
    (lambda t: first(t, lambda x: x[:, :3], "lora_A"), {}, "is of 3 inputs .* the adapter is of another model"),
    (lambda t: {n.replace("layers.1", "layers.7"): x for n, x in t.items()}, {}, r"layers\.7\..*lacks: the adapter"),
    (lambda t: dict(list(t.items())[1:]), {}, "holds no lora_A of"),
    (lambda t: t, {"peft_type": "LOHA"}, "an adapter of type 'LOHA'; only LORA is implemented"),
    (lambda t: t, {"base_model_name_or_path": "/lost/base"}, "names the base model '/lost/base', which is no folder"),
])  # fmt: skip
def test_adapter_that_is_damaged_or_of_another_model_is_one_clear_line(
    adapter: Path, change: Any, settings: dict[str, Any], message: str
) -> None:
    rewrite(adapter, change, **settings)
    with pytest.raises(CheckpointError, match=message) as raised:
        loaded(adapter)
    assert "\n" not in str(raised.value)


def test_adapter_of_another_family_is_named_with_its_base(adapter: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"{adapter} is an adapter of .* 'paligemma' model; this entry needs"):
        loaded(adapter, QWEN)


def test_file_with_code_in_it_is_refused(adapter: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return print, ("run",)

    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x": Code()}, adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="is not a file of plain weights"):
        loaded(adapter)


def test_adapter_without_peft_installed_says_what_to_install(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ResourceError, match=r'is a PEFT adapter: pip install "florence2-harness\[train\]"'):
        loaded(adapter)


def test_tied_embedding_that_is_changed_alone_is_refused(adapter: Path) -> None:
    name = "base_model.model.model.language_model.embed_tokens.weight"
    rewrite(adapter, lambda tensors: {**tensors, name: torch.ones(3, 32)})
    with pytest.raises(HarnessError, match=r"changes model\.language_model\.embed_tokens.weight; the model shares one"):
        loaded(adapter)
