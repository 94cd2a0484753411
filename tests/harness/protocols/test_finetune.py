"""Fine-tuning end to end on a small training root: checkpoints, resuming, excluded images and errors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.core import Source
from harness.errors import CheckpointError, DataError, UsageError
from harness.florence2 import weights
from harness.florence2.decoding.generate import generate, padded
from harness.florence2.decoding.search import Decoding
from harness.florence2.preprocess import Preprocess, native_preprocess, read_preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.images import image_key
from harness.protocols import finetune
from harness.training import loop
from harness.training.history import history_of
from harness.training.nano import NANO_RECIPE, NANO_UNIFIED_RECIPE
from harness.training.recipe import Recipe
from tasks import TASKS
from tasks.miniature import train_files

NANO = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
RECIPE: Recipe = replace(
    NANO_UNIFIED_RECIPE, plan=replace(NANO_UNIFIED_RECIPE.plan, steps=4, batch=8, save_every=2, warmup=1, average=0.5)
)
NAMES = ("refcoco_res", "vqav2", "coco_detection", "coco_caption")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    train_files.write(folder, train_files.Images(coco=6, signs=4, vizwiz=3, flickr30k=3))
    return folder


@pytest.fixture(scope="module")
def tuned(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = finetune.choose(RECIPE, [TASKS[name] for name in NAMES])
    return finetune.finetune(RECIPE, chosen, root, NANO, tmp_path_factory.mktemp("runs") / "out")


def test_finetuned_checkpoint_has_other_weights_and_a_longer_history(tuned: Path, root: Path) -> None:
    first, second = weights.load(NANO).model.state_dict(), weights.load(tuned).model.state_dict()
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    before, run = history_of(tuned) or [{}, {}]
    assert before["recipe"]["name"] == "nano" and run["from"] == weights.load(NANO).sha256
    assert set(run["tasks"]) == set(NAMES)
    count = sum(1 for _ in TASKS["vqav2"].load(Source(root, "train")))
    assert run["tasks"]["vqav2"]["samples"] == count


def test_finetuned_checkpoint_in_transformers_generates_equal_tokens(tuned: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    official = transformers.Florence2ForConditionalGeneration.from_pretrained(tuned, dtype=torch.float32).eval()
    model = weights.load(tuned).model.eval().float()
    preprocess, tokenizer = read_preprocess(tuned), Tokenizer.load(tuned)
    draw = np.random.default_rng(0)
    pixels = preprocess.normalise(torch.from_numpy(draw.integers(0, 256, (2, 128, 128, 3), np.uint8)))
    for text in ("What does the image describe?", "Locate the objects with category name in the image."):
        ids = torch.tensor([tokenizer.encode(text)] * 2)
        places = torch.full(
            (2, model.config.vision.map_side(preprocess.height) ** 2 + 1), official.config.image_token_id
        )
        decoding = Decoding(beams=3, max_new_tokens=20)
        expected = official.generate(
            input_ids=torch.cat([places, ids], 1),
            attention_mask=torch.ones(2, places.shape[1] + ids.shape[1]).long(),
            pixel_values=pixels, num_beams=3, max_new_tokens=20, do_sample=False,
            length_penalty=decoding.length_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram, early_stopping=decoding.early_stopping,
            forced_bos_token_id=decoding.forced_first, forced_eos_token_id=decoding.forced_last,
            decoder_start_token_id=decoding.start, eos_token_id=decoding.end, pad_token_id=decoding.pad,
        )  # fmt: skip
        with torch.inference_mode():
            written = generate(model, model.encode(model.encode_image(pixels), ids), decoding)
        assert torch.equal(padded(written, decoding), expected)


def test_finished_run_is_reused_and_interrupted_run_resumes(
    tuned: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = finetune.choose(RECIPE, [TASKS[name] for name in NAMES])
    before = (tuned / "model.safetensors").stat().st_mtime_ns
    assert finetune.finetune(RECIPE, chosen, root, NANO, tuned.parent) == tuned
    assert (tuned / "model.safetensors").stat().st_mtime_ns == before
    shutil.copytree(tuned.parent / "data", tmp_path / "data")
    update_average, steps = loop.update_average, 0

    def interrupting(*arguments: Any) -> None:
        nonlocal steps
        update_average(*arguments)
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "update_average", interrupting)
        with pytest.raises(KeyboardInterrupt):
            finetune.finetune(RECIPE, chosen, root, NANO, tmp_path)
    again = finetune.finetune(RECIPE, chosen, root, NANO, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()
    assert json.loads((again / "training.json").read_text()) == json.loads((tuned / "training.json").read_text())


def test_evaluation_images_of_guards_are_excluded_from_every_task(root: Path, tmp_path: Path) -> None:
    """Here: captions of images that RefCOCO is evaluated on."""
    images = [sample.question.image for sample in TASKS["coco_caption"].load(Source(root, "train"))]

    def evaluated(source: Source) -> Any:
        for sample in TASKS["refcoco"].load(Source(source.root, "train")):
            if sample.question.image in images[:2]:
                yield sample

    guard = replace(TASKS["refcoco"], splits=("val",), load=evaluated)
    kept_out = finetune.evaluated_images([guard], root)
    assert kept_out == {image_key(image) for image in images[:2]}
    chosen = finetune.choose(RECIPE, [TASKS["coco_caption"]])
    short = replace(RECIPE, plan=replace(RECIPE.plan, steps=1))
    folder = finetune.finetune(short, chosen, root, NANO, tmp_path / "out", guards=[guard])
    *_, run = history_of(folder) or [{}]
    assert run["tasks"]["coco_caption"]["units"] == len(images) - 2
    assert run["kept_out"] == 2


def test_evaluated_images_without_annotations_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard = replace(TASKS["refcoco"], splits=("val",))
    assert finetune.evaluated_images([guard], tmp_path) == frozenset()
    assert f"refcoco val is not under {tmp_path}: its images are not excluded from training" in caplog.text


@pytest.mark.parametrize(
    ("recipe", "task", "split", "message"),
    [
        (RECIPE, "nocaps", None, "nocaps has no training split"),
        (RECIPE, "refcoco", "train,testA", "refcoco testA is for evaluation, and is not used for training"),
        (RECIPE, "refcoco", "train,testA", "the training splits are train"),
        (RECIPE, "refcoco", "dev", "refcoco has no training split 'dev'; it has train"),
        (NANO_RECIPE, "refcoco", None, "recipe 'nano' draws scenes of its own"),
    ],
)
def test_choose_without_usable_split_or_recipe_raises(
    recipe: Recipe, task: str, split: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        finetune.choose(recipe, [TASKS[task]], split)


def test_finetune_of_checkpoint_of_another_size_raises(root: Path, tmp_path: Path) -> None:
    config = weights.load(NANO).model.config
    other = replace(RECIPE, config=replace(config, image_size=99, text=replace(config.text, decoder_layers=9)))
    chosen = finetune.choose(RECIPE, [TASKS["refcoco"]])
    with pytest.raises(UsageError, match="has another network size than recipe 'nano-unified' trains"):
        finetune.finetune(other, chosen, root, NANO, tmp_path)


def test_finetune_of_checkpoint_with_other_normalisation_raises(root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(NANO, tmp_path / "other")
    settings = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps({**settings, "image_std": [0.5, 0.5, 0.5]}))
    chosen = finetune.choose(RECIPE, [TASKS["refcoco"]])
    message = r"normalises images by .* and \(0\.5, 0\.5, 0\.5\); training supports only ImageNet's"
    with pytest.raises(CheckpointError, match=message):
        finetune.finetune(RECIPE, chosen, root, other, tmp_path / "out")


def test_finetune_of_what_transformers_5_saves_trains_at_its_resolution(root: Path, tmp_path: Path) -> None:
    """Its processor leaves only `processor_config.json`, with the settings of images inside."""
    start = shutil.copytree(NANO, tmp_path / "start")
    (start / "preprocessor_config.json").unlink()
    (start / "processor_config.json").write_text(json.dumps({"image_processor": native_preprocess(96)}))
    short = replace(RECIPE, image_size=None, plan=replace(RECIPE.plan, steps=1))
    chosen = finetune.choose(short, [TASKS["coco_caption"]])
    folder = finetune.finetune(short, chosen, root, start, tmp_path / "out")
    assert read_preprocess(folder) == Preprocess(96, 96)
    assert "notes" not in (history_of(folder) or [])[-1]


def test_finetune_of_an_adapter_starts_from_its_merged_weights(root: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    module = "base_model.model.model.language_model.encoder.layers.0.fc1"
    down, up = torch.randn(2, 128), torch.randn(512, 2)
    save_file({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 4, "r": 2}')
    frozen = replace(RECIPE, freeze=("encoder",), plan=replace(RECIPE.plan, steps=1))
    chosen = finetune.choose(frozen, [TASKS["coco_caption"]])
    folder = finetune.finetune(frozen, chosen, root, adapter, tmp_path / "out", base=NANO)
    before, after = (weights.load(path).model.encoder.layers[0].mlp.up.weight for path in (NANO, folder))
    # The update is alpha / r B A = 2 B A; the encoder is frozen, and float16 keeps 11 bits.
    torch.testing.assert_close(after, before + 2 * up @ down, rtol=1e-3, atol=1e-3)
    *before, run = history_of(folder) or []
    assert before == history_of(NANO)
    merge, tokenizer, preprocessing = run["notes"]
    assert merge == f"the PEFT adapter in {adapter} (LoRA of rank 2 on 1 modules) is merged onto {NANO}"
    assert "has no tokenizer" in tokenizer and "states no preprocessing" in preprocessing


def test_finetune_of_a_checkpoint_without_preprocessing_says_and_records_it(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = shutil.copytree(NANO, tmp_path / "start")
    (start / "preprocessor_config.json").unlink()
    short = replace(RECIPE, image_size=64, plan=replace(RECIPE.plan, steps=1))
    chosen = finetune.choose(short, [TASKS["coco_caption"]])
    folder = finetune.finetune(short, chosen, root, start, tmp_path / "out")
    [note] = (history_of(folder) or [])[-1]["notes"]
    assert "has no processor_config.json or preprocessor_config.json" in note
    assert note in caplog.text


def test_finetune_without_training_files_raises(tmp_path: Path) -> None:
    chosen = finetune.choose(RECIPE, [TASKS["refcoco"]])
    with pytest.raises(DataError, match=r"refcoco needs .*refs\(unc\)\.p, which is not there"):
        finetune.finetune(RECIPE, chosen, tmp_path, NANO, tmp_path / "out")


def test_finetune_into_folder_with_something_else_raises(root: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    chosen = finetune.choose(RECIPE, [TASKS["refcoco"]])
    with pytest.raises(UsageError, match="checkpoint holds something else, which would be lost: give another --to"):
        finetune.finetune(RECIPE, chosen, root, NANO, tmp_path)


def test_finetune_stopped_by_a_bad_image_resumes_with_images_skipped(
    tuned: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "root"
    shutil.copytree(root, damaged)
    name = sorted((damaged / "coco/train2014").iterdir())[0].name
    (damaged / "coco/train2014" / name).write_bytes(b"no image")
    chosen = finetune.choose(RECIPE, [TASKS["coco_caption"]])
    with pytest.raises(DataError, match=f"{name} cannot be decoded"):
        finetune.finetune(RECIPE, chosen, damaged, NANO, tmp_path / "out")
    with pytest.raises(DataError, match=f"{name} cannot be decoded"):  # 1 % of six images is none
        finetune.finetune(RECIPE, chosen, damaged, NANO, tmp_path / "out", skip=0.01)
    checkpoint = finetune.finetune(RECIPE, chosen, damaged, NANO, tmp_path / "out", skip=0.2)
    assert f"{name} cannot be decoded" in caplog.text
    [*_, run] = history_of(checkpoint) or []
    assert run["skipped images"] == {"count": 1, "first": [f"coco/train2014/{name}"]}
    assert all("skipped images" not in earlier for earlier in history_of(tuned) or [])


def test_finetune_skips_a_bad_image_whose_size_is_not_annotated(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The size is read from the image while targets are tokenised, before any step."""
    damaged = tmp_path / "root"
    shutil.copytree(root, damaged)
    path = damaged / "coco/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["width"] = image["height"] = None
    path.write_text(json.dumps(content))
    name = content["images"][2]["file_name"]
    whole = (damaged / "coco/train2017" / name).read_bytes()
    (damaged / "coco/train2017" / name).unlink()  # a link to the image of train2014
    (damaged / "coco/train2017" / name).write_bytes(b"no image")
    recipe = replace(RECIPE, data=replace(finetune.mixing_of(RECIPE), finding=()))
    chosen, out = finetune.choose(recipe, [TASKS["coco_detection"]]), tmp_path / "out"
    with pytest.raises(DataError, match=f"{name} cannot be decoded"):
        finetune.finetune(recipe, chosen, damaged, NANO, out)
    with pytest.raises(DataError, match=f"1 training images cannot be read, and --skip-bad-images allows 0; .*{name}"):
        finetune.finetune(recipe, chosen, damaged, NANO, out, skip=0.1)  # 10 % of six images is none
    checkpoint = finetune.finetune(recipe, chosen, damaged, NANO, out, skip=0.2)
    assert f"{name} cannot be decoded" in caplog.text
    [*_, run] = history_of(checkpoint) or []
    assert run["skipped images"] == {"count": 1, "first": [f"coco/train2017/{name}"]}
    assert run["tasks"]["coco_detection"]["samples"] == 5
    (damaged / "coco/train2017" / name).write_bytes(whole)
    shutil.rmtree(checkpoint)
    (out / "training.pt").unlink()
    [*_, run] = history_of(finetune.finetune(recipe, chosen, damaged, NANO, out)) or []
    assert "skipped images" not in run and run["tasks"]["coco_detection"]["samples"] == 6  # of a store written again
