"""Questions after examples, on tiny models of the three generations of IDEFICS: tensors, batches, seeds and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import IdeficsForVisionText2Text

import harness
from baselines.entry import Setting
from baselines.examples import Examples
from baselines.in_context import InContext, Options, check_examples, refuse, shots
from harness.cli import main
from harness.core import Failure, Question, Sample, Text
from harness.errors import UsageError
from tasks import miniature
from tasks.miniature import train_files
from tests.baselines import rivals
from tests.baselines.test_idefics import CASES, ENTRIES, Tiny, tokenizer

MODELS = {**CASES, "idefics-9b": CASES["idefics-9b-instruct"]}


@pytest.fixture(scope="module", params=list(MODELS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A checkpoint of each generation, and one of a model without instructions, with random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model, processor = MODELS[request.param](len(tokenizer()))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Tiny(folder, ENTRIES[request.param], type(model), processor)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A folder of images of a training split, other than those of `rivals.images`."""
    root = tmp_path / "training"
    root.mkdir()
    for number in range(6):
        image = Image.new("RGB", (30 + 7 * number, 60 - 5 * number), (250 - 40 * number, 10 * number, 40 * number))
        image.save(root / f"{number}.png")
    return root


def pool(root: Path, count: int = 3, seed: int = 0) -> Examples:
    """Questions and captions of the images below a folder."""
    words = ("red", "a blue circle", "two", "no", "green", "the small star on the left")
    samples = [
        Sample(
            f"{number}", Question(f"{number}.png", None, "vqa", text=f"what is {words[-number]}?"), Text((word,)), ""
        )
        for number, word in enumerate(words)
    ]
    return Examples(pool=samples, count=count, seed=seed, root=root, identity=f"{count} of {root.name}, seed {seed}")


def loaded(tiny: Tiny, root: Path, examples: Examples | None, **options: Any) -> InContext:
    setting = Setting(root=root, weights=str(tiny.folder), device="cpu", examples=examples)
    model = tiny.entry.load(setting, shots=examples.count if examples else 0, **options)
    assert isinstance(model, InContext)
    return model


def test_tokens_equal_those_of_processor_and_generate(tiny: Tiny, tmp_path: Path, training: Path) -> None:
    """The prompt and the images, in their order, are put together here by hand."""
    [name, *_] = rivals.images(tmp_path)
    examples = pool(training, 2)
    model = loaded(tiny, tmp_path, examples, max_new_tokens=6, beams=1)
    asked = Question(name, None, "vqa", text="what color is the circle")
    ours = rivals.answers(model, [(0, asked)])[0]
    one, two = examples.of(asked)
    if tiny.entry.name == "idefics-9b":
        ends, texts = [2], (
            "Instruction: provide an answer to the question. Use the image to answer.\nImage:",
            f"Question: {one.question.text} Answer: {one.answer}\nImage:",
            f"Question: {two.question.text} Answer: {two.answer}\nImage:",
            "Question: what color is the circle Answer:",
        )  # fmt: skip
    else:
        ends, brief = [2, 6], "\nGive a very brief answer.<end_of_utterance>\nAssistant:"
        texts = (
            "User:",
            f"{one.question.text}{brief} {one.answer}<end_of_utterance>\nUser:",
            f"{two.question.text}{brief} {two.answer}<end_of_utterance>\nUser:",
            f"what color is the circle{brief}",
        )
    paths = (training / one.question.image_name, training / two.question.image_name, tmp_path / name)
    images = [Image.open(path).convert("RGB") for path in paths]
    if tiny.model is IdeficsForVisionText2Text:
        inputs = tiny.processor(text=[[texts[0], images[0], texts[1], images[1], texts[2], images[2], texts[3]]])
    else:
        inputs = tiny.processor(text="<image>".join(texts), images=images, return_tensors="pt")
    forbidden = [[5], [4]]
    if tiny.entry.name == "idefics-9b":
        line = tiny.processor.tokenizer.convert_tokens_to_ids("\n")
        forbidden = [[line], [line, line], *forbidden]
    prompted = model._prompted(0, images[2], asked)
    mine = model._inputs(prompted)
    assert set(mine) == set(inputs)
    assert all(torch.equal(mine[key], inputs[key]) for key in inputs)
    theirs = tiny.model.from_pretrained(tiny.folder).generate(
        **inputs, max_new_tokens=6, do_sample=False, eos_token_id=ends, pad_token_id=3, bad_words_ids=forbidden
    )
    ids = theirs[0][inputs["input_ids"].shape[1] :].tolist()
    assert ours.raw == (tiny.processor.tokenizer.decode(ids, skip_special_tokens=True),)
    assert ours.tokens == len(ids)


def test_answers_after_examples_do_not_depend_on_the_batch(tiny: Tiny, tmp_path: Path, training: Path) -> None:
    """Nor on the order of the questions."""
    rivals.check_batches(tiny.entry, tiny.folder, tmp_path, examples=pool(training), shots=3, max_new_tokens=5)


def test_examples_change_the_answer_and_the_fingerprint(tiny: Tiny, tmp_path: Path, training: Path) -> None:
    rivals.images(tmp_path)
    asked = rivals.questions(tmp_path, frozenset({"vqa"}))
    settings = [None, pool(training), pool(training, seed=1), pool(training, 2)]
    models = [loaded(tiny, tmp_path, examples, max_new_tokens=6) for examples in settings]
    assert len({model.fingerprint for model in models}) == 4
    assert loaded(tiny, tmp_path, pool(training), max_new_tokens=6).fingerprint == models[1].fingerprint
    answers = [tuple(answer.raw for answer in rivals.answers(model, asked).values()) for model in models]
    assert len(set(answers)) == 4


def test_example_whose_image_is_corrupt_fails_the_questions_that_follow_it(
    tiny: Tiny, tmp_path: Path, training: Path
) -> None:
    [name, *_] = rivals.images(tmp_path)
    (training / "3.png").write_bytes(b"no image")
    model = loaded(tiny, tmp_path, pool(training, 6), max_new_tokens=2)
    [(_, answer)] = model.answer([(0, Question(name, None, "vqa", text="a"))])
    assert isinstance(answer, Failure) and "3.png" in answer.reason


@pytest.mark.parametrize("tiny", ["idefics2-8b"], indirect=True)
def test_batch_has_as_many_images_as_without_examples(tiny: Tiny, tmp_path: Path, training: Path) -> None:
    """On a CPU 4 prompts of one image; with 3 shots one prompt of 4 images, with 1 shot two of 2."""
    counts = {n: loaded(tiny, tmp_path, pool(training, n)).provenance["batch size"] for n in (1, 3, 6)}
    assert counts == {1: 2, 3: 1, 6: 1}
    assert loaded(tiny, tmp_path, None).provenance["batch size"] == 4


@pytest.mark.parametrize("count", [-1, 33])
def test_number_of_examples_that_no_model_was_evaluated_with_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"--shots {count}: 0 to 32"):
        refuse(Setting(device="cpu"), Options(shots=count))


def test_examples_outside_an_evaluation_are_refused() -> None:
    assert shots(Options()) == 0
    check_examples(Setting(), Options())
    with pytest.raises(UsageError, match="--shots 4: examples are of a task's training split; there is no task here"):
        check_examples(Setting(), Options(shots=4))
    with pytest.raises(UsageError, match="there is no task here"):
        harness.load_model("idefics2-8b", shots=4, device="cpu")


@pytest.fixture
def small_training_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small training root in place of the embedded one."""
    root = tmp_path_factory.mktemp("training")
    train_files.write(root, train_files.Images(coco=5, signs=5, vizwiz=5, flickr30k=1))
    monkeypatch.setattr(miniature, "ensure_training", lambda: root)
    return root


@pytest.mark.parametrize("tiny", ["idefics2-8b"], indirect=True)
def test_few_shot_tasks_are_run_scored_compared_and_reported(
    tiny: Tiny, tmp_path: Path, small_training_root: Path
) -> None:
    """nocaps has no training split and is left out."""
    tasks = ["coco_caption", "textcaps", "vqav2", "textvqa", "vizwiz"]
    rivals.check_commands(tiny.entry, tiny.folder, tmp_path, tasks, max_new_tokens=3, shots=4)


@pytest.mark.parametrize("tiny", ["idefics-9b"], indirect=True)
def test_command_with_shots_names_them_in_the_record_and_resumes(
    tiny: Tiny, tmp_path: Path, small_training_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> Any:
        common = ["--model", "idefics-9b", "--weights", str(tiny.folder), "--device", "cpu", "--data", "miniature"]
        more = ["--limit", "2", "--max-new-tokens", "2", "--out", str(tmp_path), "--json"]
        assert main(["run", "--task", "vqav2", *common, *more, *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    four = run("--shots", "4")
    shown = four["provenance"]["examples"]
    assert (four["spec"]["protocol"], four["spec"]["model"]) == ("few_shot", f"{tiny.folder.name} (4 shots)")
    assert (shown["shots"], shown["seed"], shown["split"]) == (4, 0, "train")
    assert shown["pool"] in four["spec"]["fingerprint"]
    [path] = small_training_root.rglob("v2_mscoco_train2014_annotations.json")
    known = {str(entry["question_id"]) for entry in json.loads(path.read_text())["annotations"]}
    assert set(shown["ids"]) == known
    assert run("--shots", "4") == four  # nothing was queried
    [record] = tmp_path.rglob("few_shot/*/run.json")
    record.unlink()
    stored = record.with_name("answers.jsonl")
    lines = stored.read_text().splitlines(keepends=True)
    stored.write_text("".join(lines[:-1]))
    resumed = run("--shots", "4")
    assert (resumed["id"], resumed["metrics"], resumed["counts"]["asked now"]) == (four["id"], four["metrics"], 1)
    seeded = run("--shots", "4", "--seed", "1")
    zero = run("--shots", "0")
    assert (zero["spec"]["protocol"], zero["spec"]["model"]) == ("zero_shot", tiny.folder.name)
    assert len({record["spec"]["fingerprint"] for record in (four, seeded, zero)}) == 3


@pytest.mark.parametrize(("arguments", "said"), [
    (("vqav2", "--shots", "4", "--protocol", "zero_shot"), "--protocol zero_shot with --shots 4: leave one of"),
    (("vqav2", "--shots", "4", "--protocol", "fine_tuned"), "--protocol fine_tuned with --shots 4: leave one"),
    (("vqav2", "--protocol", "few_shot"), "--protocol few_shot: give --shots"),
    (("vqav2", "--shots", "99"), "--shots 99: 0 to 32"),
    (("nocaps", "--shots", "4"), "on nocaps: it needs 4 examples of a training split, and nocaps has none"),
])  # fmt: skip
def test_impossible_few_shot_run_is_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task, *more = arguments
    assert main(["run", "--task", task, "--model", "idefics-9b", "--device", "cpu", "--data", "miniature", *more]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_model_without_examples_has_no_few_shot_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--task", "vqav2", "--model", "random", "--protocol", "few_shot"]) == 2
    assert "--protocol few_shot: model random takes no examples" in capsys.readouterr().err


def test_setting_of_examples_is_not_a_setting_of_the_user() -> None:
    assert replace(Setting(), examples=pool(Path())).given == []
