"""CLIP at tiny size: its vectors are those of transformers' own use, and it goes through every command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

from baselines import clip
from baselines.entry import Setting
from harness.core import Embedding, Match, Question
from harness.errors import UsageError
from tests.baselines import rivals

[ENTRY] = [entry for entry in clip.ENTRIES if entry.name == "clip-vit-b-32"]
TEXTS = ("red circle", "the small blue square on the left of a large red circle", "a " * 100)
LENGTH = 24


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose end of text has the highest id, as in CLIP, which is how CLIP finds it."""
    folder = tmp_path_factory.mktemp("clip")
    words = rivals.word_tokenizer(())
    words.add_special_tokens(["<start>", "<end>"])
    start, end = words.token_to_id("<start>"), words.token_to_id("<end>")
    words.post_processor = TemplateProcessing("<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)])
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    texts = {**common, "vocab_size": end + 1, "max_position_embeddings": LENGTH, "bos_token_id": start}
    config = CLIPConfig(
        text_config={**texts, "eos_token_id": end, "pad_token_id": end},
        vision_config={**common, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<start>", eos_token="<end>", pad_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def embedded(tiny: Path, root: Path, questions: list[Question], **options: str) -> list[Embedding]:
    model = ENTRY.load(Setting(root=root, weights=str(tiny), device="cpu"), **options)
    answers = rivals.answers(model, list(enumerate(questions)))
    values = [answers[ticket].value for ticket in range(len(questions))]
    assert all(isinstance(value, Embedding) for value in values)
    return values  # type: ignore[return-value]


def test_vectors_have_the_cosines_of_transformers_forward(tiny: Path, tmp_path: Path) -> None:
    """`forward` normalises by itself; its processor's part is written out: 24 tokens, padding on the right."""
    names = rivals.images(tmp_path)
    ours = embedded(
        tiny, tmp_path, [*(Question(name, None, "embed") for name in names),
                         *(Question("", None, "embed", text=text) for text in TEXTS)],
    )  # fmt: skip
    theirs, tokenizer = CLIPModel.from_pretrained(tiny), PreTrainedTokenizerFast.from_pretrained(tiny)
    pixels = CLIPImageProcessorPil.from_pretrained(tiny)([Image.open(tmp_path / n) for n in names], return_tensors="pt")
    written = [f"a photo of {text}" for text in TEXTS]
    ids = tokenizer(written, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    assert (ids["input_ids"][0, 7:] == ids["input_ids"].max()).all()
    with torch.no_grad():
        output = theirs(**ids, **pixels)
    expected = torch.cat([output.image_embeds, output.text_embeds]).numpy()
    np.testing.assert_allclose(np.concatenate([value.array for value in ours]), expected, atol=1e-3)  # float16


def test_answers_do_not_depend_on_the_batch(tiny: Path, tmp_path: Path) -> None:
    """Images, short and long texts and pairs in one batch; the numbers are rounded by float16 and by matrix size."""
    names = rivals.images(tmp_path)
    questions = [
        *(Question(name, None, "embed") for name in names), *(Question("", None, "embed", text=t) for t in TEXTS),
        *(Question(name, None, "match", text=text) for name in names[:2] for text in TEXTS),
    ]  # fmt: skip
    setting = {"root": tmp_path, "weights": str(tiny), "device": "cpu"}
    alone = rivals.answers(ENTRY.load(Setting(batch_size=1, **setting)), list(enumerate(questions)))  # type: ignore[arg-type]
    backwards = list(enumerate(questions))[::-1]
    mixed = rivals.answers(ENTRY.load(Setting(batch_size=5, **setting)), backwards)  # type: ignore[arg-type]
    for ticket, answer in alone.items():
        one, other = answer.value, mixed[ticket].value
        if isinstance(one, Match) and isinstance(other, Match):
            assert one.score == pytest.approx(other.score, abs=1e-5)
        else:
            assert isinstance(one, Embedding) and isinstance(other, Embedding)
            np.testing.assert_allclose(one.array.astype(float), other.array.astype(float), atol=1e-3)


def test_match_is_the_cosine_of_the_two_embeddings(tiny: Path, tmp_path: Path) -> None:
    name = rivals.images(tmp_path)[0]
    image, text = embedded(tiny, tmp_path, [Question(name, None, "embed"), Question("", None, "embed", text=TEXTS[0])])
    model = ENTRY.load(Setting(root=tmp_path, weights=str(tiny), device="cpu"))
    value = rivals.answers(model, [(0, Question(name, None, "match", text=TEXTS[0]))])[0].value
    cosine = float(image.array[0].astype(float) @ text.array[0].astype(float))
    assert isinstance(value, Match) and value.score == pytest.approx(cosine, abs=1e-3)


def test_text_longer_than_the_tower_is_cut_and_counted(tiny: Path, tmp_path: Path) -> None:
    model = ENTRY.load(Setting(root=tmp_path, weights=str(tiny), device="cpu"))
    answers = rivals.answers(model, list(enumerate(Question("", None, "embed", text=text) for text in TEXTS)))
    assert [answers[ticket].truncated for ticket in range(3)] == [False, False, True]
    assert answers[0].raw == ("1 x 16 numbers",)


def test_template_changes_vectors_and_fingerprint(tiny: Path, tmp_path: Path) -> None:
    questions = [Question("", None, "embed", text="a photo of red circle"), Question("", None, "embed", text="circle")]
    bare = embedded(tiny, tmp_path, questions, template="{}")
    [paper] = embedded(tiny, tmp_path, [Question("", None, "embed", text="red circle")])
    assert bare[0].array == pytest.approx(paper.array, abs=1e-3)
    setting = Setting(root=tmp_path, weights=str(tiny), device="cpu")
    assert ENTRY.load(setting).fingerprint != ENTRY.load(setting, template="{}").fingerprint


@pytest.mark.parametrize("template", ["", "a photo", "{} and {}"])
def test_template_without_one_place_for_the_caption_is_a_usage_error(template: str) -> None:
    with pytest.raises(UsageError, match="--template"):
        ENTRY.load(Setting(), template=template)


def test_retrieval_tasks_are_run_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    from harness.evaluation import scoring
    from harness.evaluation.evaluate import evaluate_each
    from harness.evaluation.request import Request

    results = tmp_path / "results"
    common = {"data": "miniature", "limit": 4, "out": results}
    request = Request(
        task="all",
        model=ENTRY,
        name="tiny",
        weights=str(tiny),
        device="cpu",
        **common,  # type: ignore[arg-type]
    )
    runs = [evaluated.run for evaluated in evaluate_each(request)]
    assert [run.spec.task for run in runs] == ["flickr30k_retrieval", "coco_retrieval"]
    for run in runs:
        assert (run.status, run.counts["failed"], run.counts["image queries"]) == ("partial", 0, 4)
        again, _ = scoring.score_again(run.id, data="miniature", out=results)
        assert again.metrics == run.metrics
    other = next(iter(evaluate_each(Request(task="coco_retrieval", model="oracle", **common))))  # type: ignore[arg-type]
    import harness
    from harness.cli import main

    [comparison] = harness.compare(runs[1], other.run, data="miniature", out=results)
    assert comparison.metrics
    assert main(["report", "--results", str(results), "--to", str(tmp_path / "report"), "--pictures", "2"]) == 0
    assert "mean recall" in (tmp_path / "report/index.html").read_text()


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRY, tiny, tmp_path / "cache", monkeypatch)
