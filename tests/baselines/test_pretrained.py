"""Checkpoints of transformers: from folders, the hub and its cache, with adapters, and errors of one clear line."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BlipImageProcessorPil, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast, T5Config
from transformers import T5ForConditionalGeneration as T5

from baselines import pretrained
from baselines.entry import Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained
from harness.errors import CheckpointError, ResourceError, UsageError
from tests.baselines import rivals
from tests.baselines.test_hub import reach
from tests.hub import Hub, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
REPO = "someone/rival"
CHECKPOINT = Checkpoint("rival", REPO)
NAMED = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=rivals.word_tokenizer(("<s>", "<pad>", "</s>")), **NAMED)


def network(seed: int = 0) -> Any:
    """OPT at tiny size, with random weights."""
    torch.manual_seed(seed)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=len(tokenizer()), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
            word_embed_proj_dim=32, max_position_embeddings=64, dropout=0.0,
        )
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as `save_pretrained` leaves it."""
    path = tmp_path / "rival"
    network().save_pretrained(path)
    tokenizer().save_pretrained(path)
    BlipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(path)
    return path


def loaded(weights: Path | str | None, **changes: Any) -> Pretrained:
    options = {name: changes.pop(name) for name in ("attention", "quantise") if name in changes}
    setting = Setting(weights=None if weights is None else str(weights), **{"device": "cpu", **changes})
    return pretrained.load("OPTForCausalLM", CHECKPOINT, setting, LoadOptions(**options))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(torch.tensor([[0, 5, 6, 7]])).logits
    return result


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------------- folders


def test_folder_gives_the_weights_of_transformers(folder: Path) -> None:
    ours = loaded(folder)
    torch.testing.assert_close(logits(ours.model), logits(OPTForCausalLM.from_pretrained(folder).eval()))
    assert not ours.model.training
    assert ours.provenance["parameters"] == sum(parameter.numel() for parameter in network().parameters())
    assert ours.provenance["transformers"] == transformers.__version__
    assert ours.identity == f"OPTForCausalLM:{pretrained.weights_digest(folder)}:float32"


def test_identity_names_the_weights_and_not_their_place(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    other = tmp_path / "other"
    network(seed=1).save_pretrained(other)
    assert loaded(copy).identity == loaded(folder).identity != loaded(other).identity


def test_identity_names_the_settings_of_image_processors(folder: Path) -> None:
    """The same weights with other settings of pixels are another model; the settings are in a file beside them."""
    first, same, wider, turned = loaded(folder), loaded(folder), loaded(folder), loaded(folder)
    for one in (first, same):
        one.image_processor("BlipImageProcessorPil")
    wider.image_processor("BlipImageProcessorPil", size={"height": 16, "width": 20})
    BlipImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.5, 0.5, 0.4]).save_pretrained(folder)
    turned.image_processor("BlipImageProcessorPil")
    assert first.identity == same.identity
    assert len({one.identity for one in (first, wider, turned)}) == 3
    assert first.identity.startswith(f"{first.weights}:")


def test_dtype_is_that_of_the_setting_and_part_of_the_identity(folder: Path) -> None:
    ours = loaded(folder, dtype="bfloat16")
    assert {parameter.dtype for parameter in ours.model.parameters()} == {torch.bfloat16}
    assert ours.identity.endswith(":bfloat16")
    assert loaded(folder).dtype == torch.float32  # on a CPU


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_that_of_the_option(folder: Path, attention: str) -> None:
    ours = loaded(folder, attention=attention)
    assert ours.model.config._attn_implementation == attention == ours.provenance["attention"]


def test_unknown_attention_is_one_clear_line(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        loaded(folder, attention="magic")
    assert "magic" in one_line(caught)


def test_tokenizer_pads_on_the_left_only_without_an_encoder(folder: Path, tmp_path: Path) -> None:
    assert loaded(folder).tokenizer.padding_side == "left"
    other = tmp_path / "t5"
    T5(
        T5Config(
            vocab_size=60, d_model=32, d_ff=64, d_kv=8, num_layers=1, num_heads=4, decoder_start_token_id=1
        )
    ).save_pretrained(other)  # fmt: skip
    tokenizer().save_pretrained(other)
    setting = Setting(weights=str(other), device="cpu")
    ours = pretrained.load("T5ForConditionalGeneration", CHECKPOINT, setting, LoadOptions())
    assert ours.tokenizer.padding_side == "right"


def test_image_processor_is_that_of_the_folder_with_settings_replaced(folder: Path) -> None:
    ours = loaded(folder)
    assert ours.image_processor("BlipImageProcessorPil").size["height"] == 16
    replaced = ours.image_processor("BlipImageProcessorPil", size={"height": 24, "width": 24})
    assert replaced.size["height"] == 24


# ---------------------------------------------------------------------------- errors


def test_missing_folder_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such folder, and not a hub repository"):
        loaded(tmp_path / "nowhere")


def test_checkpoint_of_another_class_is_a_checkpoint_error(folder: Path) -> None:
    setting = Setting(weights=str(folder), device="cpu")
    with pytest.raises(CheckpointError, match="is of a 'opt' model; this entry needs 'blip-2'") as caught:
        pretrained.load("Blip2ForConditionalGeneration", CHECKPOINT, setting, LoadOptions())
    one_line(caught)


def test_missing_tensor_is_a_checkpoint_error(folder: Path) -> None:
    """transformers would fill it with random numbers."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.decoder.layers.1.fc1.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of OPTForCausalLM, such as model\.decoder\.layers\.1"):
        loaded(folder)


def test_tensor_of_another_shape_is_a_checkpoint_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.decoder.layers.1.fc1.weight"] = torch.zeros(3, 3)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"the weights of .* cannot be loaded") as caught:
        loaded(folder)
    one_line(caught)


def test_file_that_is_cut_off_is_a_checkpoint_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"the weights of .* cannot be loaded") as caught:
        loaded(folder)
    one_line(caught)


def test_folder_without_weights_is_a_checkpoint_error(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert str(folder) in one_line(caught)


def test_missing_tokenizer_is_a_checkpoint_error(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"rival has no tokenizer: none of tokenizer\.json") as caught:
        _ = loaded(folder).tokenizer
    one_line(caught)


def test_missing_image_processor_is_a_checkpoint_error(folder: Path) -> None:
    for path in folder.glob("*processor*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"the image processor of .* cannot be loaded") as caught:
        loaded(folder).image_processor("BlipImageProcessorPil")
    one_line(caught)


def test_tokenizer_larger_than_the_embeddings_is_a_checkpoint_error(folder: Path) -> None:
    ours = loaded(folder)
    pretrained.check_vocabulary(ours, len(ours.tokenizer))
    with pytest.raises(CheckpointError, match="the model has embeddings of 10: it is the tokenizer of another model"):
        pretrained.check_vocabulary(ours, 10)


@pytest.mark.parametrize(
    ("setting", "options", "error", "message"),
    [
        ({"dtype": "float64"}, {}, UsageError, "--dtype float64: one of float32, bfloat16, float16"),
        ({"dtype": "int8"}, {}, UsageError, "for fewer bits use --quantise int8 or int4"),
        ({"batch_size": 0}, {}, UsageError, "--batch-size 0: at least 1"),
        ({}, {"quantise": "int3"}, UsageError, "--quantise int3: one of int8, int4"),
    ],
)
def test_setting_that_cannot_work_is_refused_before_loading(
    setting: dict[str, Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        pretrained.refuse(Setting(**{"device": "cpu", **setting}), LoadOptions(**options))
    one_line(caught)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_quantisation_without_a_gpu_is_a_resource_error(bits: str) -> None:
    with pytest.raises(ResourceError, match=f"--quantise {bits} needs a GPU"):
        pretrained.refuse(Setting(device="cpu"), LoadOptions(quantise=bits))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises((ResourceError, UsageError), match="cuda"):
        pretrained.refuse(Setting(device="cuda"), LoadOptions())


def test_old_transformers_is_a_resource_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    package = sys.modules["transformers"]  # it replaces itself while names are imported from it
    monkeypatch.setattr(package, "__version__", "5.23.1")
    with pytest.raises(ResourceError, match=r"needs transformers 5\.24; installed is 5\.23\.1: pip install"):
        pretrained.required()
    monkeypatch.setattr(package, "__version__", "6.0.0.dev0")
    assert pretrained.required() is package


def test_absent_transformers_is_a_resource_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ResourceError, match=r"which is not installed: pip install .*\[baselines\]"):
        pretrained.required()


# ---------------------------------------------------------------------------- adapters


def test_adapter_is_merged_onto_the_base_that_it_names(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = OPTForCausalLM.from_pretrained(folder)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "fc1"], init_lora_weights=True)
    tuned = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    tuned.peft_config["default"].base_model_name_or_path = str(folder)
    adapter = tmp_path / "adapter"
    tuned.save_pretrained(adapter)
    ours = loaded(adapter)
    torch.testing.assert_close(logits(ours.model), logits(tuned.eval()), rtol=1e-4, atol=1e-5)
    # by hand: W + alpha / r * B A
    tensors = load_file(adapter / "adapter_model.safetensors")
    stem = "base_model.model.model.decoder.layers.0.fc1"
    update = tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"] * (8 / 4)
    before = load_file(folder / "model.safetensors")["model.decoder.layers.0.fc1.weight"]
    torch.testing.assert_close(ours.model.model.decoder.layers[0].fc1.weight.data, before + update)
    assert (logits(ours.model) - logits(loaded(folder).model)).abs().max() > 0.01
    assert ours.folder == folder  # the tokenizer's place
    both = f"{pretrained.weights_digest(folder)}+{pretrained.weights_digest(adapter)}"
    assert ours.identity == f"OPTForCausalLM:{both}:float32"


# ---------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the checkpoint in several files, and an empty cache."""
    sharded = tmp_path / "sharded"
    network().save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            shutil.copy(path, sharded)
    with serving({(REPO, "main"): sharded}) as hub:
        reach(hub.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("baselines.hub._UNREACHABLE", set())
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def test_sharded_checkpoint_of_the_hub_is_loaded_and_offline_the_second_time(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECKPOINT.at_hand() == ""
    ours = loaded(None)
    torch.testing.assert_close(logits(ours.model), logits(OPTForCausalLM.from_pretrained(folder).eval()))
    assert len(ours.tokenizer) == len(tokenizer())
    assert ours.provenance["weights"] == f"{REPO}@main"
    assert CHECKPOINT.at_hand() == str(ours.folder)
    hub.asked.clear()
    reach("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    again = loaded(None)
    assert hub.asked == []
    assert again.identity == ours.identity
    assert again.image_processor("BlipImageProcessorPil").size["height"] == 16


def test_weights_may_name_a_repository_with_a_revision(hub: Hub) -> None:
    assert loaded(f"{REPO}@main").identity == loaded(REPO).identity
    with pytest.raises(CheckpointError, match="--weights names someone/rival at revision v9: the hub has no such"):
        loaded(f"{REPO}@v9")


def test_identity_is_that_of_the_blob_names_of_the_cache(hub: Hub) -> None:
    """A file of the cache is named by its content's hash on the real hub; else it is read."""
    from_hub = loaded(None)
    copy = shutil.copytree(from_hub.folder, from_hub.folder.parent / "copy", symlinks=False)
    assert loaded(copy).identity == from_hub.identity


@pytest.mark.parametrize("token", [None, "hf_secret"])
def test_gated_repository_says_how_to_get_access(hub: Hub, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 401 without a token, 403 with one that has no access."""
    hub.gated.add(REPO)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CheckpointError) as caught:
        loaded(None)
    message = one_line(caught)
    assert message.startswith(
        f"rival needs the weights of {REPO} at revision main, for which the hub wants an agreement"
    )
    assert f"accept its licence at {hub.url}/{REPO}, then log in with `hf auth login` or set HF_TOKEN" in message
    assert "hf_secret" not in message


def test_adapter_of_the_hub_is_merged_onto_its_base_of_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peft = pytest.importorskip("peft")
    tuned = peft.get_peft_model(network(), peft.LoraConfig(r=2, target_modules=["fc1"]))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    adapter = tmp_path / "adapter"
    tuned.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": "someone/base", "revision": "v1"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with serving({("someone/adapter", "main"): adapter, ("someone/base", "v1"): folder}) as hub:
        reach(hub.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        ours = loaded("someone/adapter")
    torch.testing.assert_close(logits(ours.model), logits(tuned.eval()), rtol=1e-4, atol=1e-5)


def test_entry_of_a_checkpoint_builds_from_it_and_has_its_repository() -> None:
    def build(setting: Setting, options: LoadOptions, checkpoint: Checkpoint, side: int) -> Any:
        return setting, options, checkpoint, side

    checkpoint = Checkpoint("rival", "owner/rival", "abc")
    entry = checkpoint.entry("a rival", partial(build, side=3), kinds=frozenset({"caption"}), parameters="1 B")
    setting, options = Setting(device="cpu"), LoadOptions()
    assert entry.build(setting, options) == (setting, options, checkpoint, 3)
    shown = (entry.name, entry.about, entry.repo, entry.revision, entry.parameters, entry.protocol)
    assert shown == ("rival", "a rival", "owner/rival", "abc", "1 B", "zero_shot")
    assert (entry.options, entry.refuse, entry.uses) == (LoadOptions, pretrained.refuse, pretrained.USES)
    tuned = checkpoint.entry("a rival", build, kinds=frozenset({"vqa"}), name="other", protocol="fine_tuned")
    assert (tuned.name, tuned.protocol, tuned.kinds) == ("other", "fine_tuned", frozenset({"vqa"}))
