"""PEFT adapters, saved by PEFT itself: merged into the base, they give the logits of the unmerged PEFT model."""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import CheckpointError
from harness.florence2 import adapters, weights
from harness.florence2.files import file_digest
from tests.layouts import original_config, write_original
from tests.twins import TINY, Twins, difference, inputs, twins

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a base model, as transformers saves it."""
    folder = tmp_path_factory.mktemp("base")
    twins(seed=1).reference.save_pretrained(folder)
    return folder


def adapted(folder: Path, *, seed: int = 1, grow: int = 0, name: str | None = None, **settings: Any) -> Any:
    """A PEFT model over the twins' network with random factors, and its adapter saved in `folder`."""
    network = twins(seed=seed).reference
    if grow:
        network.resize_token_embeddings(network.config.text_config.vocab_size + grow, mean_resizing=False)
    network.name_or_path = name or "somewhere/base"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of a tied output layer
        model = peft.get_peft_model(network, peft.LoraConfig(**{"r": 4, "lora_alpha": 6, **settings}))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder, save_embedding_layers=True if grow else "auto")
    return model.eval()


def peft_difference(model: Any, folder: Path, base: Path) -> float:
    """The largest difference of the merged network's logits and the unmerged PEFT model's, both in float64."""
    ours = weights.load(folder, base=base).model
    twin = Twins(model, ours)
    batch = inputs(ours.config, 96, 96)
    batch = batch._replace(pixels=batch.pixels.double())
    with torch.inference_mode():
        tokens = ours.encode_image(batch.pixels.float()).shape[1]
        ids = torch.full((len(batch.prompt), tokens), model.config.image_token_id)
        mask = torch.cat([torch.ones_like(ids), batch.real.long()], dim=1)
        expected = model.double()(
            input_ids=torch.cat([ids, batch.prompt], dim=1),
            attention_mask=mask,
            pixel_values=batch.pixels,
            decoder_input_ids=batch.tokens,
        ).logits
        assert expected.std() > 1
        return float((twin.ours.double()(*batch) - expected).abs().max())


# Factors are merged in float32: that changes logits of size 10 by about 1e-5, and a wrong scale by more than 0.1.
MERGED_IN_FLOAT32 = 1e-4
SETTINGS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "roboflow": {  # the settings of roboflow's notebook, which other tutorials repeat
        "target_modules": ["q_proj", "o_proj", "k_proj", "v_proj", "linear", "Conv2d", "lm_head", "fc2"],
        "use_rslora": True,
        "init_lora_weights": "gaussian",
        "task_type": "CAUSAL_LM",
    },
    "all linear": {"target_modules": "all-linear"},
    "patterns": {
        "target_modules": ["q_proj", "fc1", "qkv"],
        "rank_pattern": {"fc1": 3},
        "alpha_pattern": {"fc1": 7, "decoder.layers.1.encoder_attn.q_proj": 11, r".*\.1\.self_attn\.q_proj": 2},
    },
    "convolutions": {"target_modules": r".*convs\.\d\.conv"},
    "whole modules": {"target_modules": ["q_proj"], "modules_to_save": ["image_projection", "fc2", "image_proj_norm"]},
    "whole output layer": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "biases": {"target_modules": ["q_proj", "fc1"], "bias": "lora_only"},
    "all biases": {"target_modules": ["q_proj"], "bias": "all"},
    "biases of factors": {"target_modules": ["q_proj", "fc1"], "lora_bias": True},
    "DoRA": {"target_modules": ["q_proj", "fc2"], "use_dora": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_merged_adapter_gives_the_logits_of_the_peft_model(name: str, base: Path, tmp_path: Path) -> None:
    model = adapted(tmp_path, **SETTINGS[name])
    assert difference(twins(seed=1), weights.load(tmp_path, base=base).model, 96, 96) > 0.1  # it is not ignored
    assert peft_difference(model, tmp_path, base) < MERGED_IN_FLOAT32


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "lm_head"]], ids=["tied", "output layer adapted"])
def test_adapter_with_added_tokens_takes_the_larger_embedding(targets: list[str], base: Path, tmp_path: Path) -> None:
    model = adapted(tmp_path, grow=5, target_modules=targets)
    assert weights.load(tmp_path, base=base).model.config.text.vocab == TINY.text.vocab + 5
    assert peft_difference(model, tmp_path, base) < MERGED_IN_FLOAT32


def test_embedding_without_an_output_layer_that_is_not_tied_is_refused(base: Path, tmp_path: Path) -> None:
    untied = shutil.copytree(base, tmp_path / "untied")
    state = load_file(untied / "model.safetensors")
    save_file({**state, "lm_head.weight": torch.randn(96, 48)}, untied / "model.safetensors")
    adapted(tmp_path / "adapter", grow=5, target_modules=["q_proj"])
    file = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "lm_head" not in name}, file)
    assert weights.load(tmp_path / "adapter", base=base).model.config.text.vocab == 101
    with pytest.raises(CheckpointError, match="holds an embedding, but no output layer; in the base they are not tied"):
        weights.load(tmp_path / "adapter", base=untied)


@pytest.mark.parametrize("head", [False, True], ids=["tied", "output layer adapted"])
def test_adapter_of_the_original_layout_gives_the_logits_of_the_peft_model(head: bool, tmp_path: Path) -> None:
    """The remote code's modules have other names; PEFT's prefix is before them."""
    twin = twins(seed=2)
    twin.reference.half().float()  # rounded as in the base's float16 file
    tied = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    native = {k: v for k, v in twin.reference.state_dict().items() if not any(name in k for name in tied)}
    write_original(TINY, native, tmp_path / "base")
    network = twin.reference
    targets = ["q_proj", "fc2", "qkv", *(["lm_head"] if head else [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(network, peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape) if parameter.requires_grad else 0
        model.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_model.safetensors"
    save_file({original_module(name): tensor for name, tensor in load_file(file).items()}, file)
    assert peft_difference(model.eval(), tmp_path / "adapter", tmp_path / "base") < MERGED_IN_FLOAT32
    assert json.loads((tmp_path / "base/config.json").read_text()) == original_config(TINY)


def original_module(name: str) -> str:
    """The name of a native adapter's tensor in the original layout, from the modules of the published code."""
    name = name.removeprefix("base_model.model.")
    for native, original in (
        (r"^model\.language_model\.", "language_model.model."),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^model\.vision_tower\.(.*)\.ffn\.(fc.)\.", r"vision_tower.\1.ffn.fn.net.\2."),
        (r"^model\.vision_tower\.(.*_attn)\.qkv\.", r"vision_tower.\1.fn.qkv."),
    ):
        name = re.sub(native, original, name)
    assert not name.startswith("model.")
    return f"base_model.model.{name}"


def test_merge_is_described_and_part_of_the_digest(base: Path, tmp_path: Path) -> None:
    adapted(tmp_path, target_modules=["q_proj", "fc1"], rank_pattern={"fc1": 2}, modules_to_save=["image_projection"])
    checkpoint = weights.load(tmp_path, base=base)
    # q_proj: 2 encoder layers, and twice in each of 2 decoder layers; fc1: in these 4 layers, and in 10 vision blocks.
    merge = "LoRA of rank 2, 4 on 20 modules, 1 tensors replaced"
    assert checkpoint.notes == (f"the PEFT adapter in {tmp_path} ({merge}) is merged onto {base}",)
    files = [base / "model.safetensors", tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"]
    assert checkpoint.sha256 == file_digest(files)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 7}))
    assert weights.load(tmp_path, base=base).sha256 != checkpoint.sha256


def test_pickled_adapter_is_read(base: Path, tmp_path: Path) -> None:
    model = adapted(tmp_path, target_modules=["q_proj"])
    file = tmp_path / "adapter_model.safetensors"
    torch.save(load_file(file), tmp_path / "adapter_model.bin")
    file.unlink()
    assert peft_difference(model, tmp_path, base) < MERGED_IN_FLOAT32


def test_adapter_without_its_base_or_beside_whole_weights_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    adapted(folder, target_modules=["q_proj"], name="microsoft/Florence-2-base")
    with pytest.raises(
        CheckpointError, match=r"is a PEFT adapter; .* base model \(microsoft/Florence-2-base\) are needed"
    ):
        weights.load(folder)
    with pytest.raises(CheckpointError, match="is itself an adapter: merge it first"):
        weights.load(folder, base=folder)
    both = shutil.copytree(base, tmp_path / "both")
    shutil.copy(folder / "adapter_model.safetensors", both)
    with pytest.raises(CheckpointError, match=r"holds an adapter and also model\.safetensors: move one of them away"):
        weights.load(both)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has adapter_config\.json, but none of adapter_model\.safetensors"):
        weights.load(folder, base=base)
    shutil.copy(both / "adapter_model.safetensors", folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has weights of an adapter, but no adapter_config\.json"):
        weights.load(folder, base=base)


def test_adapter_or_base_with_nan_is_refused_by_the_name_of_the_tensor(base: Path, tmp_path: Path) -> None:
    adapted(tmp_path / "adapter", target_modules=["q_proj"])
    damaged = shutil.copytree(base, tmp_path / "base")
    for file in (tmp_path / "adapter/adapter_model.safetensors", damaged / "model.safetensors"):
        state = load_file(file)
        name = max(state)
        state[name].view(-1)[1] = math.nan
        save_file(state, file, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=rf"{re.escape(f'{file}: {name}')} has 1 of .* values that are NaN"):
            weights.load(tmp_path / "adapter", base=damaged if file.parent == damaged else base)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": ["q_proj", "shared"]}, r"shared\.lora_embedding_A, a LoRA on the embedding: PEFT trains"),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [5]}, r"a LoRA with trainable_token_indices \[5\]"),
        (
            {"target_modules": ["q_proj"], "modules_to_save": ["shared"]},
            r"trained whole \(model\.language_model\.shared\)",
        ),
        ({"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "'pissa', which changes the base's weights"),
    ],
)
def test_adapter_of_a_kind_that_is_not_implemented_is_refused_by_name(
    settings: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    adapted(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=message):
        weights.load(tmp_path, base=base)


@pytest.mark.parametrize("module", ["shared", "embed_tokens"])
def test_lora_on_the_embedding_is_refused_since_merging_in_peft_gives_another_model(
    module: str, base: Path, tmp_path: Path
) -> None:
    """The reason of the refusal, in PEFT itself: its merge changes every place that shares the embedding."""
    model = adapted(tmp_path, target_modules=["q_proj", module])
    ids = torch.tensor([[0, 5, 6, 2]])

    def hidden(network: Any) -> Tensor:
        with torch.inference_mode():
            return network.model.language_model(input_ids=ids, decoder_input_ids=ids).last_hidden_state.clone()

    unmerged = hidden(model.base_model.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of it for embed_tokens
        merged = hidden(model.merge_and_unload())
    assert (merged - unmerged).abs().max() > 0.1  # of values around 1
    with pytest.raises(CheckpointError, match="a LoRA on the embedding: PEFT trains it in some of its places only"):
        weights.load(tmp_path, base=base)


def test_adapter_of_another_method_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[])
        peft.get_peft_model(twins(seed=1).reference, config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="an adapter of type 'IA3'; only LORA is implemented: merge it with PEFT"):
        weights.load(tmp_path, base=base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_alpha": None}, "lora_alpha and alpha_pattern are not numbers"),
        ({"lora_alpha": True}, "are not numbers"),
        ({"lora_alpha": math.nan}, "are not numbers"),
        ({"lora_alpha": 10**400}, "are not numbers"),
        ({"alpha_pattern": [1]}, "are not numbers"),
        ({"alpha_pattern": {"a": "b"}}, "are not numbers"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "malformed or too complex"),
        ({"alpha_pattern": {"(": 1}}, "malformed or too complex"),
        ({"alpha_pattern": {".*" * 5: 1}}, "malformed or too complex"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7, not a text"),
        ({"revision": ["a"]}, "revision is .*, not a text"),
        ({"modules_to_save": "all"}, "modules_to_save is 'all', not a list of names"),
        ({"modules_to_save": [1]}, "modules_to_save is .*, not a list of names"),
        ({"fan_in_fan_out": True}, "a LoRA with fan_in_fan_out True, which is not implemented"),
        ({"some_new_setting": {"x": 1}}, "a LoRA with some_new_setting .*, which is not implemented"),
        ({"init_lora_weights": []}, "changes the base's weights"),
        ({"peft_type": None}, "an adapter of type None"),
    ],
)
def test_malformed_settings_are_a_checkpoint_error(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "lora_alpha": 8, "r": 4, "target_modules": ["q_proj"], **change}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=message):
        adapters.read_adapter_config(tmp_path)


Q = "base_model.model.model.language_model.encoder.layers.0.self_attn.q_proj"


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{Q}.lora_A.weight": zeros(4, 48)}, r"holds no lora_B\.weight of model\.language_model\.encoder"),
        (
            {f"{Q}.lora_A.weight": zeros(4, 47), f"{Q}.lora_B.weight": zeros(48, 4)},
            r"A \(4, 47\) and B \(48, 4\) do not fit",
        ),
        ({f"{Q}.lora_A.weight": zeros(4, 48), f"{Q}.lora_B.weight": zeros(48, 3)}, "do not fit its weight"),
        ({f"{Q}.lora_A.weight": zeros(0, 48), f"{Q}.lora_B.weight": zeros(48, 0)}, "do not fit its weight"),
        ({f"{Q}.lora_A.weight": zeros(4), f"{Q}.lora_B.weight": zeros(48)}, "do not fit its weight"),
        ({"x.lora_A.weight": zeros(4, 48), "x.lora_B.weight": zeros(48, 4)}, "adapts x, which the base model lacks"),
        ({"x.y.weight": zeros(4)}, r"replaces x\.y\.weight by one of shape \(4,\); in the base it is not there"),
        ({f"{Q}.weight": zeros(4)}, r"q_proj\.weight by one of shape \(4,\); in the base it has shape \(48, 48\)"),
        ({f"{Q}.other": zeros(4)}, r"q_proj\.other, which is not implemented"),
        ({f"{Q}.lora_A.second.weight": zeros(4, 48)}, r"lora_A\.second\.weight, which is not implemented"),
        ({f"{Q}.lora_A.weight": zeros(4, 48).int()}, "has the type int32"),
        (
            {f"{Q}.lora_A.weight": zeros(4, 48), f"{Q}.lora_B.weight": zeros(48, 4), f"{Q}.lora_B.bias": zeros(4)},
            "adapts the bias of .*q_proj, which the base model lacks",
        ),
        (
            {
                f"{Q}.lora_A.weight": zeros(4, 48),
                f"{Q}.lora_B.weight": zeros(48, 4),
                f"{Q}.lora_magnitude_vector": zeros(4),
            },
            "the DoRA on .*q_proj is not of a linear map",
        ),
    ],
)
def test_adapter_that_does_not_fit_is_an_error_that_names_the_module(
    tensors: dict[str, Tensor], message: str, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 4}))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        weights.load(tmp_path, base=base)
