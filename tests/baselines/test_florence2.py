"""The Florence-2 entries: their weights, the answers and scores of the embedded models, devices and precisions."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import baselines
from baselines import Setting, florence2
from baselines.entry import GENERAL
from harness import runner
from harness.core import (
    Answer,
    Boxes,
    Grounded,
    Kind,
    Phrase,
    Polygons,
    Quads,
    Question,
    Size,
    Source,
    Text,
)
from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2 import weights
from harness.florence2.config import NANO as NANO_SIZE
from harness.training.history import history_of
from tasks import TASKS

NANO = florence2.WEIGHTS / "florence2-nano"


def test_large_is_pinned_to_the_weights_of_the_paper() -> None:
    assert baselines.find("florence2-l").revision == "f0acedb"
    assert baselines.find("florence2-l").repo == "microsoft/Florence-2-large"


@pytest.mark.parametrize("name", ["florence2-nano", "florence2-nano-ft"])
def test_embedded_checkpoints_are_small_and_have_a_card(name: str) -> None:
    folder = florence2.WEIGHTS / name
    checkpoint = weights.load(folder)
    count = sum(p.numel() for p in checkpoint.model.parameters())
    assert 3e6 <= count <= 6e6
    assert baselines.find(name).parameters == f"{count / 1e6:.1f} M"
    assert (folder / "model.safetensors").stat().st_size <= 12_000_000
    assert (folder / "README.md").is_file()


def test_history_of_nano_ft_continues_that_of_nano() -> None:
    zero, tuned = (history_of(florence2.WEIGHTS / name) or [] for name in ("florence2-nano", "florence2-nano-ft"))
    assert tuned[: len(zero)] == zero
    assert not any(run["tasks"] for run in zero)
    assert tuned[len(zero)]["from"] == weights.load(NANO).sha256
    assert {name for name, task in TASKS.items() if task.train_splits} == set(tuned[-1]["tasks"])


@pytest.mark.parametrize(
    ("task", "least"),
    [
        *(("refcoco", 92), ("refcoco_plus", 92), ("refcocog", 92), ("refcoco_res", 69)),
        *(("coco_caption", 300), ("textcaps", 500), ("coco_detection", 45), ("flickr30k", 62)),
        *(("vqav2", 93), ("textvqa", 85), ("vizwiz", 55)),
    ],
)
def test_nano_ft_scores_far_above_nano(task: str, least: float, miniature: Path) -> None:
    """On 40 images; the card has the scores on all images, which are well above these bounds."""
    before, after = (_headline(model, task, miniature) for model in ("florence2-nano", "florence2-nano-ft"))
    assert after >= least
    assert after > 1.4 * before


def test_nano_finds_named_things_without_fine_tuning(miniature: Path) -> None:
    assert _headline("florence2-nano", "refcoco", miniature) > 40  # the whole image scores 0


def _headline(name: str, task: str, miniature: Path) -> float:
    split = TASKS[task].splits[0]
    samples = runner.choose(list(TASKS[task].load(Source(miniature, split))), 40, 0)
    model = baselines.find(name).load(Setting(root=miniature, batch_size=32))
    results = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    answers = {samples[place].id: answer for place, answer in results.items() if isinstance(answer, Answer)}
    value = runner.reduce(TASKS[task], runner.mark(TASKS[task], samples, answers), 0)[TASKS[task].headline].value
    assert value is not None
    return value


def every_kind(folder: Path) -> tuple[list[Question], dict[Kind, type]]:
    """Questions of every kind about an image in a folder, with its size and without, and the types of their values.

    The image is one for which all decisions of the search are clear: noise of 3e-4 on every logit, far above float32
    rounding, does not change an answer.
    """
    values: dict[Kind, type] = {
        "caption": Text, "detailed_caption": Text, "more_detailed_caption": Text, "detect": Boxes, "find": Boxes,
        "ground": Grounded, "refer": Boxes, "segment": Polygons, "vqa": Text, "ocr": Text, "ocr_regions": Quads,
        "name": Text, "describe": Text, "outline": Polygons, "read": Text, "regions": Boxes, "propose": Boxes,
    }  # fmt: skip
    assert set(values) == GENERAL
    pixels = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "x.png")
    phrases = (Phrase("a red cup"), Phrase("a dog"))
    questions = [
        Question("x.png", size, kind, region=(9.5, 8.0, 60.0, 40.0), text="a red cup and a dog", phrases=phrases)
        for kind in values
        for size in (Size(96, 64), None)
    ]
    return questions, values


def test_nano_answers_every_kind_with_the_same_tokens_in_any_batch(tmp_path: Path) -> None:
    """Each kind has an answer of its own type, also the kinds on which nano was not trained.

    Rounding depends on the batch size and on the processor.
    """
    questions, values = every_kind(tmp_path)

    def answers(batch: int) -> list[Answer]:
        model = baselines.find("florence2-nano").load(Setting(root=tmp_path, batch_size=batch), max_new_tokens=24)
        results = dict(model.answer(enumerate(questions)))
        assert all(isinstance(answer, Answer) for answer in results.values())
        return [answer for _, answer in sorted(results.items()) if isinstance(answer, Answer)]

    first, again = answers(8), answers(5)
    assert len(first) == len(questions)
    for question, one, other in zip(questions, first, again, strict=True):
        assert (one.raw, one.trail) == (other.raw, other.trail)
        assert one.value is None or isinstance(one.value, values[question.kind])
    for with_size, without in zip(first[::2], first[1::2], strict=True):  # the opened image's size is the same
        assert (with_size.raw, with_size.trail) == (without.raw, without.trail)


def test_weights_that_are_neither_a_folder_nor_a_repository_are_refused(tmp_path: Path, miniature: Path) -> None:
    build = baselines.find("florence2-b").load
    for given in ("nowhere", "./no/where", "a/b/c", str(tmp_path / "x")):
        with pytest.raises(CheckpointError, match="no such folder, and not a hub repository"):
            build(Setting(root=miniature, weights=given))


def test_weights_that_are_a_file_are_refused_with_the_remedy(tmp_path: Path, miniature: Path) -> None:
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"best\.ckpt is a file; give the folder that holds it and config\.json"):
        baselines.find("florence2-b").load(Setting(root=miniature, weights=str(tmp_path / "best.ckpt")))


def test_tokenizer_with_more_ids_than_the_embedding_is_refused(tmp_path: Path, miniature: Path) -> None:
    build = baselines.find("florence2-b").load
    copied(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    for number in range(3000):
        tokenizer["model"]["vocab"][f"word{number}"] = len(tokenizer["model"]["vocab"]) + 2000
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="the embedding only"):
        build(Setting(root=miniature, weights=str(tmp_path)))


def copied(folder: Path) -> Path:
    """A copy of florence2-nano in `folder`."""
    for file in NANO.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_preprocessing_that_is_assumed_is_logged_and_recorded(
    tmp_path: Path, miniature: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copied(tmp_path) / "preprocessor_config.json").write_text('{"size": {"height": 96, "width": 96}}')
    model = baselines.find("florence2-b").load(Setting(root=miniature, weights=str(tmp_path)))
    [note] = model.provenance["checkpoint"]  # type: ignore[attr-defined]
    assert "does not state image_mean, image_std, do_center_crop: " in note
    assert note in caplog.text
    (tmp_path / "preprocessor_config.json").write_bytes((NANO / "preprocessor_config.json").read_bytes())
    model = baselines.find("florence2-b").load(Setting(root=miniature, weights=str(tmp_path)))
    assert "checkpoint" not in model.provenance  # type: ignore[attr-defined]


def test_image_side_beyond_the_position_tables_is_refused_before_any_image_is_opened(tmp_path: Path) -> None:
    # Nano's map has a cell for 16 pixels, and its tables have 50 rows: 800 pixels are the most.
    assert florence2.load_parts(NANO, resolution=800).preprocess.height == 800
    with pytest.raises(UsageError, match=r"--resolution 1000: .* positions for 50 cells, and the side takes 63"):
        florence2.load_parts(NANO, resolution=1000)
    (copied(tmp_path) / "preprocessor_config.json").write_text('{"size": {"height": 96, "width": 1000}}')
    with pytest.raises(CheckpointError, match="an image side of 1000 pixels: this checkpoint has positions for 50"):
        florence2.load_parts(tmp_path)


def test_precision_follows_from_its_name_or_the_device() -> None:
    assert florence2.choose_dtype(None, "cpu") == torch.float32
    assert florence2.choose_dtype(None, "cuda:1") == torch.bfloat16
    assert florence2.choose_dtype("bfloat16", "cpu") == torch.bfloat16
    assert florence2.choose_dtype("int8", "cpu") == torch.int8
    assert florence2.choose_dtype("float8", "cuda") == torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("int4", "cpu", "--dtype int4: one of float32, bfloat16, float16, int8, float8"),
        ("int8", "cuda", "--dtype int8 is for a CPU; on a GPU try bfloat16 or float16"),
        ("float8", "cpu", "--dtype float8 is for a GPU; on a CPU try int8"),
    ],
)
def test_precision_that_a_device_lacks_is_a_usage_error(name: str, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        florence2.choose_dtype(name, device)


def test_backend_is_for_a_cpu_and_a_whole_number_of_threads() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    options = florence2.Options(backend="onnxruntime", threads="auto")
    with pytest.raises(UsageError, match="--threads auto tries this harness's own kernels; --backend needs a whole"):
        florence2.refuse(Setting(), options)
    with pytest.raises(UsageError, match="--backend onnxruntime: no float16 on a CPU"):
        florence2.refuse(Setting(dtype="float16"), options)


def test_device_that_the_machine_lacks_is_a_resource_error() -> None:
    assert florence2.choose_device("cpu") == "cpu"
    with pytest.raises(ResourceError, match="--device cuda:99 cannot be used here"):
        florence2.choose_device("cuda:99")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "--beams 0: at least 1"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0: at least 1"),
        ({"no_repeat_ngram": -1}, "--no-repeat-ngram -1: at least 0"),
        ({"length_penalty": math.nan}, "--length-penalty nan: a finite number"),
        ({"resolution": 31}, "--resolution 31: at least 32 pixels"),
        ({"prompt": "find=nonsense"}, "nonsense"),
        ({"threads": "many"}, "many"),
        ({"backend": "tensorrt"}, "--backend tensorrt: one of onnxruntime, openvino"),
    ],
)
def test_options_that_cannot_work_are_refused_before_loading(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        florence2.refuse(Setting(), florence2.Options(**options))


@pytest.mark.parametrize(("setting", "backs_off"), [(None, True), ("1", False)])
def test_threads_back_off_unless_their_number_is_given(setting: str | None, backs_off: bool) -> None:
    before = torch.get_num_threads()
    source = florence2.Source("florence2-nano", NANO_SIZE, NANO)
    try:
        assert florence2.build(Setting(device="cpu"), florence2.Options(threads=setting), source).backs_off is backs_off
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_nano_in_a_backend_answers_every_kind_as_without_it(
    backend: str, tmp_path: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedily and with beams; a batch of five has prompts of several lengths, and sequences at different positions."""
    for package in (backend, "onnx", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(exports))
    questions, _ = every_kind(tmp_path)
    for beams in (1, 3):
        found = []
        for options in ({}, {"backend": backend}):
            setting = Setting(root=tmp_path, batch_size=5)
            model = baselines.find("florence2-nano").load(setting, max_new_tokens=24, beams=beams, **options)
            results = dict(model.answer(enumerate(questions)))
            answers = [answer for _, answer in sorted(results.items()) if isinstance(answer, Answer)]
            found.append([(answer.raw, answer.trail, answer.truncated) for answer in answers])
        assert len(found[0]) == len(questions) and found[0] == found[1]
    version = importlib.metadata.version(backend)
    assert f":backend={backend} {version}:" in model.fingerprint
    assert model.provenance["backend"] == f"{backend} {version}"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder, so that the graphs are exported once for all tests of this file."""
    return tmp_path_factory.mktemp("exports")


def test_options_of_the_search_reach_the_fingerprint() -> None:
    source = florence2.Source("florence2-nano", NANO_SIZE, NANO)
    plain = florence2.build(Setting(device="cpu"), florence2.Options(), source).fingerprint
    assert " no_repeat_ngram=3 length_penalty=1.0 " in plain
    options = florence2.Options(no_repeat_ngram=0, length_penalty=2)
    assert florence2.build(Setting(device="cpu"), options, source).fingerprint == plain.replace(
        " no_repeat_ngram=3 length_penalty=1.0 ", " no_repeat_ngram=0 length_penalty=2.0 "
    )


def test_weights_on_this_machine_are_found_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert baselines.find("florence2-nano").at_hand() == str(NANO)
    assert baselines.find("florence2-b").at_hand() == ""
    missing = florence2.Source("none", NANO_SIZE, tmp_path / "none")
    assert missing.at_hand() == ""
    assert missing.checkpoint(str(NANO)) == NANO
