"""Fine-tuning end to end on a small training root, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core import Source
from harness.errors import CheckpointError, DataError, UsageError
from harness.florence2 import weights
from harness.florence2.decoding.generate import generate, padded
from harness.florence2.decoding.search import Decoding
from harness.florence2.preprocess import read_preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.protocols import finetune, zero_shot
from harness.training.history import history_of
from harness.training.nano import NANO_RECIPE, NANO_UNIFIED_RECIPE
from harness.training.paper import UNIFIED_TASKS
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


def test_the_unified_mixture_is_every_task_with_a_training_split() -> None:
    assert set(UNIFIED_TASKS) == {name for name, task in TASKS.items() if task.train_splits}


def test_a_checkpoint_is_another_checkpoint_and_says_what_it_has_seen(tuned: Path, root: Path) -> None:
    one, other = weights.load(NANO).model.state_dict(), weights.load(tuned).model.state_dict()
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    before, run = history_of(tuned) or [{}, {}]
    assert before["recipe"]["name"] == "nano" and run["from"] == weights.load(NANO).sha256
    assert set(run["tasks"]) == set(NAMES)
    count = sum(1 for _ in TASKS["vqav2"].load(Source(root, "train")))
    assert run["tasks"]["vqav2"]["samples"] == count
    assert (
        zero_shot.seen(TASKS["vqav2"], tuned).said()
        == "trained on this task's train; also on refcoco_res, coco_detection, coco_caption"
    )
    assert (
        zero_shot.seen(TASKS["textvqa"], tuned).said()
        == "not trained on this task; also on refcoco_res, vqav2, coco_detection, coco_caption"
    )
    assert zero_shot.seen(TASKS["textvqa"], None).said().startswith("unknown")


def test_transformers_loads_it_and_writes_the_same_tokens(tuned: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    theirs = transformers.Florence2ForConditionalGeneration.from_pretrained(tuned, dtype=torch.float32).eval()
    ours = weights.load(tuned).model.eval().float()
    preprocess, tokenizer = read_preprocess(tuned), Tokenizer.load(tuned)
    draw = np.random.default_rng(0)
    pixels = preprocess.normalise(torch.from_numpy(draw.integers(0, 256, (2, 128, 128, 3), np.uint8)))
    for text in ("What does the image describe?", "Locate the objects with category name in the image."):
        ids = torch.tensor([tokenizer.encode(text)] * 2)
        places = torch.full((2, ours.config.vision.map_side(preprocess.height) ** 2 + 1), theirs.config.image_token_id)
        decoding = Decoding(beams=3, max_new_tokens=20)
        expected = theirs.generate(
            input_ids=torch.cat([places, ids], 1),
            attention_mask=torch.ones(2, places.shape[1] + ids.shape[1]).long(),
            pixel_values=pixels, num_beams=3, max_new_tokens=20, do_sample=False,
            length_penalty=decoding.length_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram, early_stopping=decoding.early_stopping,
            forced_bos_token_id=decoding.forced_first, forced_eos_token_id=decoding.forced_last,
            decoder_start_token_id=decoding.start, eos_token_id=decoding.end, pad_token_id=decoding.pad,
        )  # fmt: skip
        with torch.inference_mode():
            written = generate(ours, ours.read(ours.look(pixels), ids), decoding)
        assert torch.equal(padded(written, decoding), expected)


def test_a_finished_one_is_reused_and_an_interrupted_one_gone_on_with(
    tuned: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = finetune.choose(RECIPE, [TASKS[name] for name in NAMES])
    before = (tuned / "model.safetensors").stat().st_mtime_ns
    assert finetune.finetune(RECIPE, chosen, root, NANO, tuned.parent) == tuned
    assert (tuned / "model.safetensors").stat().st_mtime_ns == before
    shutil.copytree(tuned.parent / "data", tmp_path / "data")
    follow, done = finetune.teach_all.__globals__["fit"].__globals__["follow"], 0

    def stopping(*given: Any) -> None:
        nonlocal done
        follow(*given)
        done += 1
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setitem(finetune.teach_all.__globals__["fit"].__globals__, "follow", stopping)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(RECIPE, chosen, root, NANO, tmp_path)
    monkeypatch.setitem(finetune.teach_all.__globals__["fit"].__globals__, "follow", follow)
    again = finetune.finetune(RECIPE, chosen, root, NANO, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()
    assert json.loads((again / "training.json").read_text()) == json.loads((tuned / "training.json").read_text())


def test_images_that_are_evaluated_on_are_kept_out(root: Path, tmp_path: Path) -> None:
    """Under whatever task: a caption of an image of RefCOCO's val, say, by its number in any of COCO's years."""
    numbers = [sample.question.image for sample in TASKS["coco_caption"].load(Source(root, "train"))]
    assert finetune.image_key("coco/val2017/000000000123.jpg") == finetune.image_key(
        "coco/train2014/COCO_train2014_000000000123.jpg"
    )
    assert finetune.image_key("flickr30k/flickr30k-images/000000000123.jpg") != finetune.image_key(numbers[0])

    def evaluated(source: Source) -> Any:
        for sample in TASKS["refcoco"].load(Source(source.root, "train")):
            if sample.question.image in numbers[:2]:
                yield sample

    guard = replace(TASKS["refcoco"], splits=("val",), load=evaluated)
    kept_out = finetune.evaluated([guard], root)
    assert kept_out == {finetune.image_key(image) for image in numbers[:2]}
    chosen = finetune.choose(RECIPE, [TASKS["coco_caption"]])
    short = replace(RECIPE, plan=replace(RECIPE.plan, steps=1))
    folder = finetune.finetune(short, chosen, root, NANO, tmp_path / "out", guards=[guard])
    *_, run = history_of(folder) or [{}]
    assert run["tasks"]["coco_caption"]["units"] == len(numbers) - 2
    assert run["kept_out"] == 2


def test_a_checkpoint_at_the_recipes_own_resolution_is_trained_too() -> None:
    """As published ones at 768 pixels are: their weights come frozen from the loader."""
    found = weights.load(NANO).model
    found.config = replace(found.config, image_size=128)
    assert all(p.requires_grad for p in finetune.resized(found, RECIPE, NANO).parameters())


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nocaps has no training split"):
        finetune.choose(RECIPE, [TASKS["nocaps"]])
    with pytest.raises(UsageError, match="refcoco testA is for evaluation, and is not trained on; it trains on train"):
        finetune.choose(RECIPE, [TASKS["refcoco"]], "train,testA")
    with pytest.raises(UsageError, match="refcoco has no training split 'dev'; it has train"):
        finetune.choose(RECIPE, [TASKS["refcoco"]], "dev")
    with pytest.raises(UsageError, match="recipe 'nano' draws scenes of its own"):
        finetune.choose(NANO_RECIPE, [TASKS["refcoco"]])
    chosen = finetune.choose(RECIPE, [TASKS["refcoco"]])
    other = replace(RECIPE, config=replace(weights.load(NANO).model.config, image_size=99, text=replace(
        weights.load(NANO).model.config.text, decoder_layers=9)))  # fmt: skip
    with pytest.raises(UsageError, match="is of another size than recipe 'nano-unified' trains"):
        finetune.finetune(other, chosen, root, NANO, tmp_path / "a")
    odd = shutil.copytree(NANO, tmp_path / "odd")
    stated = json.loads((odd / "preprocessor_config.json").read_text())
    (odd / "preprocessor_config.json").write_text(json.dumps({**stated, "image_std": [0.5, 0.5, 0.5]}))
    with pytest.raises(CheckpointError, match=r"normalises by .* and \(0\.5, 0\.5, 0\.5\); training, by ImageNet's"):
        finetune.finetune(RECIPE, chosen, root, odd, tmp_path / "c")
    with pytest.raises(DataError, match=r"refcoco needs .*refs\(unc\)\.p, which is not there"):
        finetune.finetune(RECIPE, chosen, tmp_path, NANO, tmp_path / "b")
