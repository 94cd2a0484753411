"""Kosmos-2 at tiny size: the authors' prompts and boxes, transformers' fault in padded batches, and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import (
    CLIPImageProcessorPil,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.kosmos2.processing_kosmos2 import (
    clean_text_and_extract_entities_with_bboxes,
    coordinate_to_patch_index,
    patch_index_to_coordinate,
)

from baselines import kosmos2
from baselines.entry import Setting
from baselines.generative import Generative, Written
from harness.core import Boxes, Grounded, Phrase, Question, Size, Text
from harness.errors import CheckpointError
from tests.baselines import rivals

[ENTRY] = kosmos2.ENTRIES
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # as in the published tokenizer; the image's places follow them
TAGS = (
    "</doc>", "<image>", "</image>", "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>",
    "</delimiter_of_multi_objects/>", "<grounding>",
)  # fmt: skip
SIZES = [Size(640, 480), Size(480, 640), Size(20, 20), Size(3000, 100)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights whose output tends to boxes."""
    folder = tmp_path_factory.mktemp("kosmos2")
    words = rivals.word_tokenizer(SPECIAL, "i0 i1 i2 i3 An of Question Answer " + rivals.WORDS)
    patches = [f"<patch_index_{place:04d}>" for place in range(1024)]
    words.add_tokens([AddedToken(tag, lstrip=True, rstrip=False, normalized=False) for tag in (*TAGS, *patches)])
    size = words.get_vocab_size()
    common = {"num_hidden_layers": 2, "num_attention_heads": 4}
    config = Kosmos2Config(
        text_config={
            "vocab_size": size, "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4,
            "max_position_embeddings": 160,
        },
        vision_config={**common, "hidden_size": 32, "intermediate_size": 64, "image_size": 32, "patch_size": 8},
        latent_query_num=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Kosmos2ForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)  # so that positions matter
    model.save_pretrained(folder)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **named)
    pixels = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    Kosmos2Processor(pixels, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def family(tiny: Path) -> kosmos2.Kosmos2:
    model = ENTRY.load(Setting(weights=str(tiny), device="cpu"))
    assert isinstance(model, Generative)
    assert isinstance(model.family, kosmos2.Kosmos2)
    return model.family


def processor_of(folder: Path) -> Kosmos2Processor:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    return Kosmos2Processor(CLIPImageProcessorPil.from_pretrained(folder), tokenizer)


def written(*texts: str) -> list[Written]:
    return [Written(text, (), False) for text in texts]


def refer(text: str = "the red circle") -> Question:
    return Question("0.png", None, "refer", text=text)


# ---------------------------------------------------------------------------- prompts


def test_prompt_of_an_expression_is_that_of_the_authors(family: kosmos2.Kosmos2) -> None:
    """unilm, kosmos-2/evaluation/refcoco/cook_data.py: f'{locate_token}<phrase>{caption}</phrase>', <grounding>."""
    assert family.prompts(refer()) == ("<grounding><phrase>the red circle</phrase>",)


def test_prompt_of_a_phrase_is_that_of_the_authors(family: kosmos2.Kosmos2) -> None:
    """flickr_entities/cook_data.py: locate_token + f'{caption[:start]} <phrase>{phrase}</phrase>' for each phrase."""
    phrases = (Phrase("A man", 0, 5), Phrase("a hat", 9, 14))
    asked = Question("0.png", None, "ground", text="A man in a hat .", phrases=phrases)
    assert family.prompts(asked) == (
        "<grounding> <phrase>A man</phrase>",
        "<grounding>A man in  <phrase>a hat</phrase>",
    )


def test_prompt_of_a_question_is_that_of_the_author(family: kosmos2.Kosmos2) -> None:
    """microsoft/unilm issue #1186: `Question: ... Answer:`."""
    asked = Question("0.png", None, "vqa", text="What is it?")
    assert family.prompts(asked) == ("Question: What is it? Answer:",)
    assert family.prompts(Question("0.png", None, "caption")) == ("An image of",)


def test_settings_are_those_of_the_authors_script(family: kosmos2.Kosmos2) -> None:
    """grd-zeroshot-refcoco.sh and -flickr.sh: --beam 1 --no-repeat-ngram-size 3 --max-len-b 500."""
    expected = {"num_beams": 1, "no_repeat_ngram_size": 3, "max_new_tokens": 500}
    assert family.settings("refer") == family.settings("ground") == expected


def test_tags_in_an_expression_are_not_read_as_tags(family: kosmos2.Kosmos2) -> None:
    text = "red</phrase><object><patch_index_0000><patch_index_1023></object> circle"
    [prompt] = family.prompts(refer(text))
    assert prompt.split() == ["<grounding><phrase>red", "circle</phrase>"]


# ---------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("size", SIZES)
def test_box_of_two_cells_is_that_of_the_authors(size: Size) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [(0, 1023), (0, 0), (5, 5), (5, 8), (5, 5 + 32 * 7), (1023, 1023)]
    for first, last in pairs + torch.randint(1024, (300, 2), generator=generator).tolist():
        x1, y1, x2, y2 = patch_index_to_coordinate(first, last, 32)
        theirs = (x1 * size.width, y1 * size.height, x2 * size.width, y2 * size.height)
        assert kosmos2.box_of(first, last, size) == pytest.approx(theirs)


@pytest.mark.parametrize("size", SIZES)
def test_box_survives_the_grid_to_within_a_cell(size: Size) -> None:
    for relative in ((0.1, 0.2, 0.7, 0.9), (0.0, 0.0, 1.0, 1.0), (0.31, 0.05, 0.35, 0.99), (0.5, 0.5, 0.51, 0.51)):
        first, last = coordinate_to_patch_index(relative, 32)
        box = kosmos2.box_of(first, last, size)
        side = (size.width, size.height) * 2
        for edge, share, length in zip(box, relative, side, strict=True):
            assert abs(edge - share * length) <= length / 32


def test_boxes_equal_those_of_the_documented_example(family: kosmos2.Kosmos2) -> None:
    """The example of transformers' `clean_text_and_extract_entities_with_bboxes`, in pixels of a 200 x 100 image."""
    prompt = "<grounding> An image of<phrase> a snowman</phrase>"
    output = (
        "<object><patch_index_0044><patch_index_0863></object> warming himself by"
        "<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>."
    )
    _, [(_, _, [theirs]), _] = clean_text_and_extract_entities_with_bboxes(prompt + output)
    assert theirs == (0.390625, 0.046875, 0.984375, 0.828125)
    expected = (78.125, 4.6875, 196.875, 82.8125)
    assert kosmos2.boxes_of(prompt + output, Size(200, 100)) == (expected,)


FIRST, SECOND = "<patch_index_0000><patch_index_1023>", "<patch_index_0033><patch_index_0066>"
WHOLE = (0.5, 0.5, 31.5, 31.5)  # centres of the first and last cell: of a 32 x 32 image, a cell is a pixel
SMALL = (1.5, 1.5, 2.5, 2.5)  # cell 33 is row 1, column 1; cell 66 is row 2, column 2


@pytest.mark.parametrize(
    ("output", "boxes"),
    [
        (f"<object>{FIRST}</object>", [WHOLE]),
        (f" <object> {SECOND.replace('><', '> <')} </object> </s>", [SMALL]),  # a tokenizer that writes spaces
        (f"<object>{SECOND}</delimiter_of_multi_objects/>{FIRST}</object>", [SMALL, WHOLE]),
        (f"<object>{FIRST}</object> and<phrase> the red circle</phrase><object>{SECOND}</object>", [WHOLE, SMALL]),
        (f"<object>{FIRST}</object> by<phrase> a dog</phrase><object>{SECOND}</object>", [WHOLE]),
        ("<object><patch_index_0005><patch_index_0008></object>", [(5.0, 0.0, 9.0, 1.0)]),  # one row: outer edges
        ("<object><patch_index_0005><patch_index_0005></object>", [(5.0, 0.0, 6.0, 1.0)]),  # one cell
        ("<object><patch_index_1023><patch_index_0000></object>", None),  # upside down
        ("<object><patch_index_0007><patch_index_0037></object>", None),  # right edge left of the left edge
        (f"<object><patch_index_5000><patch_index_9999></delimiter_of_multi_objects/>{SECOND}</object>", [SMALL]),
        ("<object><patch_index_0044></object>", None),
        ("<object><patch_index_0044><patch_index_0863>", None),  # cut off
        (f"{FIRST}", None),
        (f"<phrase> a dog</phrase><object>{SECOND}</object>", None),  # of another phrase
        ("", None),
        ("a red circle.", None),
        ("</object>" * 50 + "<object>" * 50, None),
    ],
)
def test_output_for_an_expression_is_read_by_the_authors_rule(
    family: kosmos2.Kosmos2, output: str, boxes: list[Any] | None
) -> None:
    value = family.value(refer(), written(output), Size(32, 32))
    assert value == (None if boxes is None else Boxes(tuple(boxes)))


def test_sign_of_a_tag_in_an_expression_does_not_hide_its_box(family: kosmos2.Kosmos2) -> None:
    """The authors' pattern finds no phrase with a `<`."""
    assert family.value(refer("size < 3"), written(f"<object>{FIRST}</object>"), Size(32, 32)) == Boxes((WHOLE,))


def test_phrases_keep_their_order_and_may_have_no_box(family: kosmos2.Kosmos2) -> None:
    phrases = (Phrase("red", 0, 3), Phrase("blue", 4, 8), Phrase("green", 9, 14))
    asked = Question("0.png", None, "ground", text="red blue green", phrases=phrases)
    outputs = (f"<object>{FIRST}</object>", "nothing", f"<object>{SECOND}</object>")
    assert family.value(asked, written(*outputs), Size(32, 32)) == Grounded(((WHOLE,), (), (SMALL,)))
    assert family.value(asked, written("", "", ""), Size(32, 32)) is None


def test_text_is_without_tags_and_boxes(family: kosmos2.Kosmos2) -> None:
    output = f"<phrase> a dog</phrase><object>{FIRST}</object> on grass."
    assert family.value(Question("0.png", None, "caption"), written(output), Size(9, 9)) == Text(("a dog on grass.",))
    assert family.value(Question("0.png", None, "vqa", text="?"), written(" yes "), Size(9, 9)) == Text(("yes",))


# ---------------------------------------------------------------------------- tokens and batches


def test_tokens_equal_those_of_processor_and_generate(tiny: Path, tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    model = ENTRY.load(Setting(root=tmp_path, weights=str(tiny), device="cpu"), max_new_tokens=12)
    ours = rivals.answers(model, [(0, refer())])[0]
    theirs = Kosmos2ForConditionalGeneration.from_pretrained(tiny)
    processor = processor_of(tiny)
    prompt = "<grounding><phrase>the red circle</phrase>"
    inputs = processor(images=Image.open(tmp_path / name), text=prompt, num_image_tokens=4, return_tensors="pt")
    out = theirs.generate(**inputs, max_new_tokens=12, no_repeat_ngram_size=3, do_sample=False)
    [ids] = out[:, inputs["input_ids"].shape[1] :].tolist()
    assert ours.raw == (processor.tokenizer.decode([token for token in ids if token != 2]),)
    assert ours.tokens == len(ids)


def scores(folder: Path, prompts: Sequence[str], **settings: Any) -> torch.Tensor:
    """transformers' own scores of the first prompt's first four output tokens, in a batch of these prompts."""
    model = Kosmos2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = processor_of(folder)
    images = [Image.new("RGB", (32, 32), (200, 30, 30))] * len(prompts)
    inputs = processor(images=images, text=list(prompts), num_image_tokens=4, padding=True, return_tensors="pt")
    output = model.generate(
        **inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, output_scores=True,
        return_dict_in_generate=True, **settings,
    )  # fmt: skip
    return torch.stack([step[0] for step in output.scores])


def test_transformers_scores_of_a_padded_prompt_are_wrong_from_the_second_token_on(tiny: Path) -> None:
    """The reason for batches of equal prompt length; when this test fails, transformers is repaired.

    With a cache, `create_position_ids_from_input_ids` counts the padding that the cache holds.
    """
    short, long = "the red circle", "the small blue square on the left of a large red circle"
    alone, padded = scores(tiny, [short]), scores(tiny, [short, long])
    finite = torch.isfinite(alone)  # the end token is forbidden
    difference = torch.where(finite, (alone - padded).abs(), 0).amax(dim=1)
    assert difference[0] < 1e-4
    assert (difference[1:] > 1e-2).any()
    torch.testing.assert_close(scores(tiny, [short, long], use_cache=False), alone, rtol=0, atol=1e-4)
    torch.testing.assert_close(scores(tiny, [short, short]), alone, rtol=0, atol=1e-4)


def test_prompts_of_one_batch_have_equal_lengths(family: kosmos2.Kosmos2) -> None:
    image = Image.new("RGB", (8, 8))
    one, other = family.prompts(refer("red circle")) + family.prompts(refer("blue square"))
    [longer] = family.prompts(refer("the large blue square"))
    assert family.key(image, one) == family.key(image, other) != family.key(image, longer)
    assert bool(family.inputs([image] * 2, [one, other])["attention_mask"].all())


def test_answers_do_not_depend_on_the_batch(tiny: Path, tmp_path: Path) -> None:
    rivals.check_batches(ENTRY, tiny, tmp_path, max_new_tokens=6)


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRY, tiny, tmp_path / "cache", monkeypatch)


def test_tasks_of_its_kinds_are_run_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    tasks = [
        *rivals.CAPTION, *rivals.VQA, *rivals.REFER, "flickr30k",
    ]  # fmt: skip
    rivals.check_commands(ENTRY, tiny, tmp_path, tasks, max_new_tokens=4)


def test_tokenizer_of_another_model_is_a_checkpoint_error(tiny: Path) -> None:
    """The processor would add the tags to it, with numbers that the model has no embeddings for."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rivals.word_tokenizer(SPECIAL), unk_token="<unk>")
    config = Kosmos2Config(text_config={"vocab_size": 900}, latent_query_num=4)
    loaded = SimpleNamespace(
        model=SimpleNamespace(config=config),
        tokenizer=tokenizer,
        folder=tiny,
        image_processor=lambda name: CLIPImageProcessorPil.from_pretrained(tiny),
    )
    with pytest.raises(CheckpointError, match="the model has embeddings of 900: it is the tokenizer of another"):
        kosmos2.Kosmos2(loaded)  # type: ignore[arg-type]
