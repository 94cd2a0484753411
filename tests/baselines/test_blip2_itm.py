"""BLIP-2's two heads at tiny size: the scores of transformers' forward, and the text of LAVIS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import Blip2Config, Blip2ForImageTextRetrieval, BlipImageProcessorPil, PreTrainedTokenizerFast

from baselines import blip2_itm
from baselines.blip2_itm import LENGTH, prepared
from baselines.entry import Setting
from harness import runner
from harness.core import Embedding, Match, Question, Sample, Source
from harness.data.pair_scores import pair_of
from harness.evaluation.api import evaluate
from tasks import TASKS
from tests.baselines import rivals
from tests.harness.evaluation import first_runs

ENTRIES = {entry.name: entry for entry in blip2_itm.ENTRIES}
TEXTS = ("red circle", "the small blue square on the left of a large red circle", "a " * 60)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip2")
    words = rivals.word_tokenizer(("[PAD]", "[CLS]", "[SEP]"))
    words.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Blip2Config(
        vision_config={**common, "image_size": 32, "patch_size": 8},
        qformer_config={
            **common, "vocab_size": words.get_vocab_size(), "encoder_hidden_size": 32, "use_qformer_text_input": True,
        },
        text_config={"model_type": "opt", "vocab_size": 30, "hidden_size": 32, "num_attention_heads": 4},
        num_query_tokens=4,
        image_text_hidden_size=16,
    )  # fmt: skip
    config.image_token_index = None
    torch.manual_seed(0)
    model = Blip2ForImageTextRetrieval(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="<unk>"
    ).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def forward(tiny: Path, image: Path, text: str, *, matching: bool) -> Any:
    """Transformers' own forward of one image and one text, padded on the right to 35 tokens."""
    model = Blip2ForImageTextRetrieval.from_pretrained(tiny)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny, padding_side="right")
    tokens = tokenizer([text], padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    pixels = BlipImageProcessorPil.from_pretrained(tiny)(Image.open(image), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model(
            pixels, tokens["input_ids"], tokens["attention_mask"], use_image_text_matching_head=matching
        ).logits_per_image


def load(tiny: Path, root: Path, name: str, batch: int = 4) -> Any:
    return ENTRIES[name].load(Setting(root=root, weights=str(tiny), device="cpu", batch_size=batch))


def test_similarity_of_embeddings_is_the_logit_of_transformers(tiny: Path, tmp_path: Path) -> None:
    names = rivals.images(tmp_path)
    questions = [
        *(Question(name, None, "embed") for name in names),
        *(Question("", None, "embed", text=t) for t in TEXTS),
    ]
    answers = rivals.answers(load(tiny, tmp_path, "blip2-itc"), list(enumerate(questions)))
    values = [answers[ticket].value for ticket in range(len(questions))]
    arrays = [value.array.astype(float) for value in values if isinstance(value, Embedding)]
    assert [array.shape for array in arrays] == [(4, 16)] * len(names) + [(1, 16)] * len(TEXTS)
    for place, name in enumerate(names):
        for number, text in enumerate(TEXTS):
            expected = float(forward(tiny, tmp_path / name, text, matching=False))
            assert (arrays[place] @ arrays[len(names) + number].T).max() == pytest.approx(expected, abs=2e-3)


def test_match_is_the_logit_of_the_head_plus_the_similarity(tiny: Path, tmp_path: Path) -> None:
    names = rivals.images(tmp_path)[:2]
    pairs = [(name, text) for name in names for text in TEXTS]
    model = load(tiny, tmp_path, "blip2-itm")
    answers = rivals.answers(model, list(enumerate(Question(name, None, "match", text=text) for name, text in pairs)))
    for ticket, (name, text) in enumerate(pairs):
        head = float(forward(tiny, tmp_path / name, text, matching=True)[0, 1])
        similarity = float(forward(tiny, tmp_path / name, text, matching=False))
        value = answers[ticket].value
        assert isinstance(value, Match) and value.score == pytest.approx(head + similarity, abs=1e-4)
    assert [answers[ticket].truncated for ticket in range(3)] == [False, False, True]


@pytest.mark.parametrize(("name", "kind"), [("blip2-itc", "embed"), ("blip2-itm", "match")])
def test_answers_do_not_depend_on_the_batch(name: str, kind: Any, tiny: Path, tmp_path: Path) -> None:
    images = rivals.images(tmp_path)
    if kind == "embed":
        questions = [Question(i, None, "embed") for i in images] + [Question("", None, kind, text=t) for t in TEXTS]
    else:
        questions = [Question(i, None, kind, text=text) for i in images for text in TEXTS]
    alone = rivals.answers(load(tiny, tmp_path, name, 1), list(enumerate(questions)))
    mixed = rivals.answers(load(tiny, tmp_path, name, 7), list(enumerate(questions))[::-1])
    for ticket in alone:
        one, other = (answers[ticket].value for answers in (alone, mixed))
        numbers = [v.array if isinstance(v, Embedding) else v.score for v in (one, other)]  # type: ignore[union-attr]
        np.testing.assert_allclose(*(np.asarray(n, float) for n in numbers), atol=1e-3)


@pytest.mark.parametrize(("caption", "text"), [
    ("A dog (brown) runs.", "a dog brown runs"),  # LAVIS: spaces for marks, and no two spaces
    ('"Hi!"  he says; so: #1 ~ *', "hi he says so 1"),
    ("it's red, and blue", "it's red, and blue"),
    ("w " * 60, " ".join(["w"] * 50)),
])  # fmt: skip
def test_caption_is_prepared_as_by_lavis(caption: str, text: str) -> None:
    assert prepared(caption) == text


def test_image_of_several_pairs_is_encoded_once(tiny: Path, tmp_path: Path) -> None:
    names = rivals.images(tmp_path)[:2]
    model = load(tiny, tmp_path, "blip2-itm", 6)
    heads = next(cell.cell_contents for cell in model._answer.__closure__ if hasattr(cell.cell_contents, "match"))
    encoded: list[int] = []
    heads._model.vision_model.register_forward_pre_hook(
        lambda *given: encoded.append(len(given[1][0])), with_kwargs=False
    )
    pairs = [Question(name, None, "match", text=text) for name in names for text in TEXTS]
    rivals.answers(model, list(enumerate(pairs)))
    assert encoded == [2]


@pytest.mark.parametrize("model", ["blip2-itc", "clip-nano"])
def test_reranking_has_the_recall_of_a_loop_over_all_pairs(
    model: str, tiny: Path, miniature: Path, tmp_path: Path
) -> None:
    """First run by BLIP-2's contrastive head, or by another model; second run by the matching head."""
    common: dict[str, Any] = {"data": "miniature", "limit": 3, "out": tmp_path, "device": "cpu"}
    own = {"weights": tiny, "name": "blip2-itc"} if model == "blip2-itc" else {}
    first = evaluate("flickr30k_retrieval", model, **common, **own)
    run = evaluate("flickr30k_rerank", "blip2-itm", candidates=first, top=4, weights=tiny, **common)
    assert run.provenance["cost"]["of"] == "one match query alone: 1 image" and run.provenance["cost"]["GFLOPs"] > 0
    assert run.spec.model.startswith(f"{model}+") and run.provenance["candidates"]["run"] == first.id
    samples = runner.choose(list(TASKS["flickr30k_retrieval"].load(Source(miniature, "test"))), 3, 0)
    by_id = {sample.id: sample.question for sample in samples}
    scores = {}
    for name, value in first_runs.stored(tmp_path, run).items():
        image, caption = pair_of(Sample(name, Question("", None, "match"), None, ""))
        scores[by_id[f"image/{image}"].image_name, by_id[f"caption/{caption}"].text] = value.score
    expected = first_runs.recalls(samples, first_runs.stored(tmp_path, first), scores, 4)
    assert {name: run.metrics[name].value for name in expected} == pytest.approx(expected)


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRIES["blip2-itm"], tiny, tmp_path / "cache", monkeypatch)
