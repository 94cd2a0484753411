"""Fine-tunes as their tools leave them: by name, from a folder or the hub, to the tokens of transformers or PEFT."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Backend
from transformers import (
    CLIPImageProcessorPil,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)

import baselines
from baselines import Setting, florence2
from harness.core import Answer, Question, Size
from harness.errors import CheckpointError
from harness.florence2.config import NANO as NANO_SIZE
from harness.florence2.predictor import Predictor
from harness.florence2.preprocess import native_preprocess
from tests.baselines.test_hub import reach
from tests.hub import serving
from tests.layouts import original_config, original_state

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
NANO = florence2.WEIGHTS / "florence2-nano"
SIDE = 96  # pixels; nano's own side is 128, and the published one 768
IMAGES = 4


def network() -> Any:
    return Florence2ForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32).eval()


def processor() -> Any:
    """transformers' processor with nano's tokenizer, at another side than nano's."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_file(str(NANO / "tokenizer.json")),
        bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    pixels = CLIPImageProcessorPil(**native_preprocess(SIDE))
    pixels.image_seq_length = (SIDE // 16) ** 2 + 1  # a cell for 16 pixels, and their mean
    return Florence2Processor(image_processor=pixels, tokenizer=fast)


def images(root: Path) -> list[Image.Image]:
    pictures = []
    for number in range(IMAGES):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
        pictures.append(Image.fromarray(coarse).resize((90, 70), Image.Resampling.NEAREST))
        pictures[-1].save(root / f"{number}.png")
    return pictures


def official_tokens(model: Any, root: Path) -> list[list[int]]:
    """The ids that transformers generates greedily, without `<s>` and `</s>`, up to the first choice that is not clear.

    A choice is clear if its score exceeds the next by 1e-3, far more than float32 rounding on any processor.
    """
    batch = processor()(images=images(root), text=["<CAPTION>"] * IMAGES, return_tensors="pt")
    with torch.inference_mode():
        written = model.generate(
            **batch, num_beams=1, do_sample=False, max_new_tokens=20, no_repeat_ngram_size=3, forced_bos_token_id=0,
            forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    best = torch.stack([scores.topk(2).values for scores in written.scores], dim=1)  # (images, steps, 2)
    clear = (best[..., 0] - best[..., 1] > 1e-3).cumprod(1).bool()
    rows = zip(written.sequences[:, 1:].tolist(), clear.tolist(), strict=True)
    return [[number for number, sure in zip(*row, strict=True) if sure and number > 2] for row in rows]


def assert_same_tokens(ours: Predictor, official: Any, root: Path) -> None:
    expected = official_tokens(official, root)
    assert sum(map(len, expected)) > 20 and len(set(map(tuple, expected))) > 1
    written = our_tokens(ours, root)
    assert [row[: len(clear)] for row, clear in zip(written, expected, strict=True)] == expected


def our_tokens(model: Any, root: Path) -> list[list[int]]:
    """The ids that the harness generates for the same images, without `<s>` and `</s>`."""
    images(root)
    tokens: dict[int, list[int]] = {}
    model.watch = lambda ticket, _, generated: tokens.update(
        {ticket: [number for number in generated.tokens if number > 2]}
    )
    questions = [Question(f"{number}.png", Size(90, 70), "caption") for number in range(IMAGES)]
    assert all(isinstance(answer, Answer) for _, answer in model.answer(enumerate(questions)))
    return [tokens[number] for number in range(IMAGES)]


def loaded(weights: Path | str, root: Path, name: str = "florence2-nano") -> Predictor:
    model = baselines.find(name).load(Setting(root=root, weights=str(weights)), beams=1, max_new_tokens=20)
    assert isinstance(model, Predictor)
    return model


def notes(model: Predictor) -> list[str]:
    recorded: list[str] = model.provenance.get("checkpoint", [])
    return recorded


@pytest.fixture(scope="module")
def tuned() -> Any:
    """nano with other weights, as after training."""
    model = network()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def saved(tuned: Any, tmp_path: Path) -> Path:
    """What transformers 5 leaves: the model, and the processor in one file beside the tokenizer."""
    folder = tmp_path / "saved"
    tuned.save_pretrained(folder)
    processor().save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    return folder


def test_checkpoint_of_transformers_5_gives_its_tokens(tuned: Any, saved: Path, tmp_path: Path) -> None:
    model = loaded(saved, tmp_path)
    assert_same_tokens(model, tuned, tmp_path)
    assert model.provenance["input"] == f"{SIDE}x{SIDE}"
    assert notes(model) == []


def test_trainers_folder_takes_the_tokenizer_of_the_model_that_is_named(
    tuned: Any, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Trainer that was not given the processor saves no tokenizer, but its own state."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (saved / name).unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (saved / name).write_bytes(b"")
    model = loaded(saved, tmp_path)
    assert_same_tokens(model, tuned, tmp_path)
    [note] = notes(model)
    assert note == f"{saved} has no tokenizer: that of {NANO} is used"
    assert note in caplog.text


def test_trainers_folder_with_added_tokens_and_no_tokenizer_is_refused(saved: Path, tmp_path: Path) -> None:
    grown = network()
    grown.resize_token_embeddings(1538, mean_resizing=False)
    grown.save_pretrained(saved)
    (saved / "tokenizer.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"no tokenizer and an embedding of 1538 rows, but that of .* has 1535 ids"
    ):
        loaded(saved, tmp_path)


def adapter(folder: Path, base: str | None, **settings: Any) -> Any:
    """A LoRA with random factors over nano, saved by PEFT with the processor, as its examples do."""
    model = network()
    model.name_or_path = base or ""
    torch.manual_seed(0)  # PEFT draws the first factors from the global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=8, **settings))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        adapted.save_pretrained(folder)
    processor().save_pretrained(folder)
    return adapted.eval()


@pytest.mark.parametrize("named", [True, False], ids=["base named", "base not named"])
def test_adapter_folder_gives_the_tokens_of_peft(named: bool, tmp_path: Path) -> None:
    """Without a name, the base is the model that is named on the command line."""
    folder = tmp_path / "adapter"
    model = adapter(folder, str(NANO) if named else None, target_modules=["q_proj", "k_proj", "v_proj", "fc2", "qkv"])
    assert official_tokens(model, tmp_path) != official_tokens(network(), tmp_path)
    ours = loaded(folder, tmp_path)
    assert_same_tokens(ours, model, tmp_path)
    [note] = notes(ours)
    assert note.startswith(f"the PEFT adapter in {folder} (LoRA of rank 8 on ")
    assert note.endswith(f" modules) is merged onto {NANO}")
    assert ours.fingerprint != loaded(NANO, tmp_path).fingerprint


def test_adapter_without_processor_files_takes_those_of_its_base(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    adapter(folder, str(saved), target_modules=["q_proj"])
    for file in folder.iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    ours = loaded(folder, tmp_path, "florence2-b")
    assert ours.provenance["input"] == f"{SIDE}x{SIDE}"
    assert [note.split(":")[0].split(" in ")[0] for note in notes(ours)] == [
        "the PEFT adapter", f"{folder} has no tokenizer", f"{folder} states no preprocessing",
    ]  # fmt: skip


def test_adapter_whose_base_is_not_here_is_refused_with_the_name(tmp_path: Path) -> None:
    adapter(tmp_path / "adapter", "/content/florence-2-base", target_modules=["q_proj"])
    with pytest.raises(
        CheckpointError, match="names the base model '/content/florence-2-base', which is no folder here and no hub"
    ):
        loaded(tmp_path / "adapter", tmp_path)


def write_remote(model: Any, folder: Path) -> Path:
    """What `save_pretrained` of the remote code's model and processor leaves: its own names and config.

    That processor's image settings are in `preprocessor_config.json`.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if "embed_tokens" not in name}
    original = original_state({name: tensor for name, tensor in state.items() if name != "lm_head.weight"})
    for name in ("encoder.embed_tokens", "decoder.embed_tokens"):
        del original[f"language_model.model.{name}.weight"]  # safetensors stores a shared tensor once
    del original["language_model.lm_head.weight"]
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in original.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**original_config(NANO_SIZE), "projection_dim": 128}))
    extra = {"auto_map": {"AutoProcessor": "processing_florence2.Florence2Processor"}, "do_convert_rgb": None}
    stated = {**native_preprocess(SIDE), **extra, "crop_size": {"height": 768, "width": 768}, "image_seq_length": 577}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    shutil.copy(NANO / "tokenizer.json", folder)
    return folder


def test_fine_tune_of_the_remote_code_gives_transformers_tokens(tuned: Any, tmp_path: Path) -> None:
    folder = write_remote(tuned, tmp_path / "remote")
    model = loaded(folder, tmp_path, "florence2-b-ft")
    assert_same_tokens(model, tuned, tmp_path)
    assert notes(model) == []


def test_adapter_of_roboflows_notebook_gives_the_tokens_of_peft(tmp_path: Path) -> None:
    """Its settings, over the remote code's model: the output layer is adapted too."""
    targets = ["q_proj", "o_proj", "k_proj", "v_proj", "linear", "Conv2d", "lm_head", "fc2"]
    base, folder = write_remote(network(), tmp_path / "base"), tmp_path / "adapter"
    settings = {
        "target_modules": targets,
        "use_rslora": True,
        "init_lora_weights": "gaussian",
        "task_type": "CAUSAL_LM",
    }
    model = adapter(folder, str(base), **settings)
    file = folder / "adapter_model.safetensors"
    names = {
        "model.model.language_model.": "model.language_model.model.",
        "model.lm_head.": "model.language_model.lm_head.",
        "model.model.vision_tower.": "model.vision_tower.",
        ".ffn.fc2.": ".ffn.fn.net.fc2.",
    }
    remote = {}
    for name, tensor in load_file(file).items():
        for native, original in names.items():
            name = name.replace(native, original)
        remote[name] = tensor
    save_file(remote, file)
    ours = loaded(folder, tmp_path, "florence2-b")
    assert_same_tokens(ours, model, tmp_path)
    assert ours.model.lm_head.weight is not ours.model.embedding.weight


def test_state_of_a_compiled_parallel_training_loop_gives_transformers_tokens(
    tuned: Any, saved: Path, tmp_path: Path
) -> None:
    state = {f"module._orig_mod.{name}": tensor for name, tensor in tuned.state_dict().items()}
    (saved / "model.safetensors").unlink()
    torch.save({"state_dict": state, "epoch": 3}, saved / "pytorch_model.bin")
    model = loaded(saved, tmp_path)
    assert_same_tokens(model, tuned, tmp_path)
    assert len(notes(model)) == 3  # the entry, the wrapper's part, and the prefix


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], Path]]:
    """The repositories of a hub on loopback, which a test fills."""
    repos: dict[tuple[str, str], Path] = {}
    with serving(repos) as server:
        reach(server.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield repos


def test_sharded_checkpoint_of_transformers_5_on_the_hub_gives_its_tokens(
    tuned: Any, saved: Path, tmp_path: Path, hub: dict[tuple[str, str], Path]
) -> None:
    (saved / "model.safetensors").unlink()
    tuned.save_pretrained(saved, max_shard_size="5MB")
    assert len(list(saved.glob("model-*.safetensors"))) > 1
    hub["someone/tuned", "main"] = saved
    model = loaded("someone/tuned", tmp_path)
    assert_same_tokens(model, tuned, tmp_path)
    assert model.provenance["input"] == f"{SIDE}x{SIDE}"


def test_adapter_on_the_hub_is_merged_onto_its_base_at_the_revision_it_names(
    saved: Path, tmp_path: Path, hub: dict[tuple[str, str], Path]
) -> None:
    folder = tmp_path / "adapter"
    model = adapter(folder, "someone/base", target_modules=["q_proj", "fc1"], revision="v2")
    hub["someone/adapter", "main"] = folder
    hub["someone/base", "v2"] = NANO
    ours = loaded("someone/adapter", tmp_path, "florence2-b")
    assert_same_tokens(ours, model, tmp_path)
    assert "is merged onto" in notes(ours)[0]


def test_folder_without_tokenizer_takes_that_of_the_hub_without_its_weights(
    saved: Path, tmp_path: Path, hub: dict[tuple[str, str], Path]
) -> None:
    published = tmp_path / "published"
    published.mkdir()
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        shutil.copy(NANO / name, published)
    hub["microsoft/Florence-2-base", "main"] = published
    (saved / "tokenizer.json").unlink()
    [note] = notes(loaded(saved, tmp_path, "florence2-b"))
    assert note.startswith(f"{saved} has no tokenizer: that of ")
