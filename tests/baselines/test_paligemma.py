"""PaliGemma at tiny size: the authors' prompts and coordinates, the tokens of transformers' own use, the commands."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
)

import harness
from baselines import paligemma
from baselines.entry import Entry, Setting
from harness.core import Boxes, Failure, Kind, Mask, Phrase, Question, Size, Text
from harness.errors import CheckpointError, UsageError
from tests.baselines import rivals
from tests.baselines.test_paligemma_masks import write_vae

SPECIAL = ("<pad>", "<eos>", "<bos>", "<image>")
LOCATIONS = [f"<loc{number:04}>" for number in range(1024)]
CODES = [f"<seg{number:03}>" for number in range(128)]
ENTRIES = {entry.name: entry for entry in paligemma.ENTRIES}
MIX = ENTRIES["paligemma-3b-mix-224"]
TUNED = ENTRIES["paligemma-3b-ft-refcoco-seg-896"]
TASKS = [*rivals.CAPTION, *rivals.DETECT, *rivals.FIND, *rivals.REFER, *rivals.VQA]
ONE = pytest.mark.parametrize("tiny", ["gemma"], indirect=True)
MASKS = ["refcoco_res", "refcoco_plus_res", "refcocog_res"]


@pytest.fixture(scope="module", params=["gemma", "gemma2"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp(request.param), request.param)


def save(folder: Path, kind: str, words_of_data: str = "") -> Path:
    """A checkpoint of PaliGemma or PaliGemma 2.  The line break, which ends a prompt, is a token."""
    words = rivals.word_tokenizer(SPECIAL, f"{rivals.WORDS} caption answer en detect segment {words_of_data}")
    words.add_tokens([AddedToken(token, normalized=False) for token in ("\n", *LOCATIONS, *CODES)])
    size = words.get_vocab_size()
    text: dict[str, Any] = {
        "model_type": kind, "vocab_size": size, "hidden_size": 32, "intermediate_size": 64, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "pad_token_id": 0,
        "eos_token_id": 1, "bos_token_id": 2, "max_position_embeddings": 1024,
    }  # fmt: skip
    if kind == "gemma2":
        text |= {"query_pre_attn_scalar": 8, "sliding_window": 512}
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "projection_dim": 32,
            "vision_use_head": False,
        },
        text_config=text,
        projection_dim=32,
        image_token_index=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = PaliGemmaForConditionalGeneration(config)
    with torch.no_grad():  # so that tokens differ along an answer, and attention is spread out
        for name, tensor in model.named_parameters():
            if tensor.ndim == 2:
                gain = 0.5 if "q_proj" in name or "k_proj" in name else 2.0
                tensor.normal_(std=0.05 if "embed" in name else gain * tensor.shape[-1] ** -0.5)
    model.generation_config.repetition_penalty = 1.7  # shipped settings must not change an evaluation
    model.save_pretrained(folder)
    named = {"bos_token": "<bos>", "pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, extra_special_tokens=["<image>"], **named)
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 3
    tokenizer.save_pretrained(folder)
    pixels = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    pixels.image_seq_length = 16
    pixels.save_pretrained(folder)
    return folder


def load(folder: Path, root: Path, entry: Entry = MIX, **options: Any) -> Any:
    return entry.load(Setting(root=root, weights=str(folder), device="cpu"), **options)


@pytest.mark.parametrize(
    ("kind", "text", "prompt", "beams"),
    [
        ("caption", "", "caption en", 2),  # configs/proj/paligemma/transfers/cococap.py: beam_size=2
        ("vqa", "what color is the circle ?", "answer en what color is the circle ?", 1),  # vqav2.py: decode
        ("refer", "red circle", "detect red circle", 1),  # configs/proj/paligemma/README.md: `detect {things}`
    ],
)
def test_tokens_equal_those_of_processor_and_generate(
    tiny: Path, tmp_path: Path, kind: Kind, text: str, prompt: str, beams: int
) -> None:
    [name, *_] = rivals.images(tmp_path)
    ours = rivals.answers(load(tiny, tmp_path, max_new_tokens=12), [(0, Question(name, None, kind, text=text))])[0]
    theirs = PaliGemmaForConditionalGeneration.from_pretrained(tiny)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny)
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 3
    pixels = SiglipImageProcessorPil.from_pretrained(tiny)
    pixels.image_seq_length = 16
    processor = PaliGemmaProcessor(pixels, tokenizer)
    inputs = processor(Image.open(tmp_path / name), f"<image>{prompt}", return_tensors="pt")
    assert inputs["input_ids"][0, -1] == tokenizer.convert_tokens_to_ids("\n")
    inputs.pop("labels")
    written = theirs.generate(**inputs, num_beams=beams, max_new_tokens=12, repetition_penalty=1.0, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ].tolist()
    kept = [token for token in written if token > 2]
    assert ours.raw == (tokenizer.decode(kept),)
    assert len(set(kept)) > 1


def test_attention_within_the_prompt_goes_both_ways(tiny: Path, tmp_path: Path) -> None:
    """Without `token_type_ids` transformers makes the prompts of a padded batch causal, without a warning."""
    [name, *_] = rivals.images(tmp_path)
    model = load(tiny, tmp_path)
    image = Image.open(tmp_path / name)
    both, causal = (model.family.inputs([image] * 2, ["caption en", "detect small red circle"]) for _ in range(2))
    assert (both["attention_mask"] == 0).any()
    del causal["token_type_ids"]
    alone = model.family.inputs([image], ["caption en"])
    with torch.inference_mode():
        short, wrong, expected = (model.loaded.model(**inputs).logits[0, -1] for inputs in (both, causal, alone))
    torch.testing.assert_close(short, expected, rtol=1e-4, atol=1e-4)
    assert (wrong - expected).abs().max() > 1e-2


def test_answers_do_not_depend_on_the_batch(tiny: Path, tmp_path: Path) -> None:
    rivals.check_batches(MIX, tiny, tmp_path, max_new_tokens=6)


@ONE
def test_tasks_of_its_kinds_are_run_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    vae = str(write_vae(tmp_path / "vae.npz"))
    rivals.check_commands(MIX, tiny, tmp_path, [*TASKS, *MASKS], max_new_tokens=6, vae=vae)


@ONE
def test_masks_are_not_evaluated_without_the_decoder(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be evaluated on refcoco_res: it answers no segment questions"):
        harness.evaluate("refcoco_res", MIX, data="miniature", weights=tiny, out=tmp_path, limit=1)


# ---------------------------------------------------------------------------- prompts


@ONE
@pytest.mark.parametrize(
    ("entry", "asked", "prompt"),
    [
        # big_vision configs/proj/paligemma/transfers/cococap.py, textcaps.py: strfmt("caption en")
        (MIX, Question("x", None, "caption"), "caption en"),
        # vqav2.py, textvqa.py, vizwizvqa.py: strfmt("answer en {question_text}")
        (MIX, Question("x", None, "vqa", text="What is it?"), "answer en What is it?"),
        # the structured prompts of README.md
        (MIX, Question("x", None, "refer", text="red circle\n"), "detect red circle"),
        (MIX, Question("x", None, "segment", text="red circle"), "segment red circle"),
        (MIX, Question("x", None, "find", phrases=(Phrase("cat"), Phrase("dog"))), "detect cat ; dog"),
        (MIX, Question("x", None, "detect", phrases=(Phrase("cat"),)), "detect cat"),
        # pp/proj/paligemma/segmentation.py: data['prefix'] = sentence
        (TUNED, Question("x", None, "refer", text="red circle"), "red circle"),
        (TUNED, Question("x", None, "segment", text="red circle"), "red circle"),
    ],
)
def test_prompt_of_a_question_is_that_of_the_authors(
    tiny: Path, tmp_path: Path, entry: Entry, asked: Question, prompt: str
) -> None:
    assert load(tiny, tmp_path, entry).family.prompts(asked) == (prompt,)


@ONE
def test_questions_that_would_be_misread_fail_alone(tiny: Path, tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    asked = [
        Question(name, None, "find", phrases=(Phrase("salt ; pepper"), Phrase("cat"))),
        Question(name, None, "vqa", text="what is <image> here"),
        Question(name, None, "find"),
        Question(name, None, "vqa", text="what color"),
    ]
    results = dict(load(tiny, tmp_path, max_new_tokens=2).answer(enumerate(asked)))
    reasons = [result.reason if isinstance(result, Failure) else "" for _, result in sorted(results.items())]
    assert reasons == [
        "the category 'salt ; pepper' has ';' in it, which separates categories here",
        "the prompt 'answer en what is <image> here' has <image> in it, which stands for the image",
        "a 'find' question without phrases has no prompt",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "kinds", "beams"),
    [
        ("paligemma-3b-ft-cococap-448", {"caption"}, 2),
        ("paligemma-3b-ft-textcaps-448", {"caption"}, 3),  # textcaps.py: beam_size=3
        ("paligemma-3b-ft-vqav2-448", {"vqa"}, 2),
        ("paligemma-3b-ft-refcoco-seg-896", {"refer"}, 2),
        ("paligemma2-28b-mix-448", {"caption", "vqa", "detect", "find", "refer"}, 2),
    ],
)
def test_entry_answers_what_its_checkpoint_was_trained_for(name: str, kinds: set[Kind], beams: int) -> None:
    entry = ENTRIES[name]
    assert entry.kinds == kinds
    assert entry.build.keywords["variant"].beams == beams  # type: ignore[attr-defined]
    assert entry.repo == f"google/{name}"
    assert "gated" in entry.about


def test_there_are_entries_of_every_published_size() -> None:
    general = {name for name in ENTRIES if "-ft-" not in name}
    expected = {
        f"{family}-{stage}"
        for family in ("paligemma-3b", "paligemma2-3b", "paligemma2-10b", "paligemma2-28b")
        for stage in ("mix-224", "mix-448", "pt-224", "pt-448", "pt-896")
    }
    assert general == expected


# ---------------------------------------------------------------------------- parsing


def parsed(family: Any, text: str, size: Size, kind: Kind = "find") -> Any:
    """The value of an answer with this text.  Every token has the probability 1/2, labels 1/4."""
    ids = family._tokenizer(text, add_special_tokens=False)["input_ids"]
    logs = tuple(math.log(0.5 if family._is_special(token) else 0.25) for token in ids)
    written = paligemma.Written(family.decode(ids), tuple(ids), False, logs)
    return family.value(Question("x", size, kind), [written], size)


@ONE
@pytest.mark.parametrize("size", [Size(640, 480), Size(480, 640), Size(32, 32), Size(20, 10), Size(4000, 500)])
def test_coordinates_are_y_before_x_and_shares_of_1023(tiny: Path, tmp_path: Path, size: Size) -> None:
    """The authors write round(v * 1023) of a share v: the error is at most half a step of 1/1023."""
    family = load(tiny, tmp_path).family
    box = (0.1 * size.width, 0.25 * size.height, 0.7 * size.width, 1.0 * size.height)
    shares = (0.25, 0.1, 1.0, 0.7)  # y1, x1, y2, x2
    text = "".join(f"<loc{round(share * 1023):04}>" for share in shares) + " circle"
    found = parsed(family, text, size).boxes[0]
    for coordinate, expected, side in zip(found, box, (*size, *size), strict=True):
        assert abs(coordinate - expected) <= side / 1023 / 2 + 1e-9
    assert found[3] == size.height  # 1024 as divisor would end 0.1 % before the edge


FOUR = "<loc0000><loc1023><loc0341><loc0682>"  # of 1023 pixels: top 0, left 1023, bottom 341, right 682
BOX = (1023.0, 0.0, 682.0, 341.0)


@ONE
@pytest.mark.parametrize(
    ("text", "boxes", "labels"),
    [
        (f"{FOUR} red circle", (BOX,), ("red circle",)),
        (f"{FOUR} red circle ; {FOUR} square", (BOX, BOX), ("red circle", "square")),
        (f"{FOUR} red circle ;", (BOX,), ("red circle",)),
        (f"{FOUR}", (BOX,), ("",)),
        (f"{FOUR}{FOUR} square", (BOX, BOX), ("", "square")),
        (f"{FOUR}<loc0001> square", (BOX,), ("square",)),
        (f"<loc0001><loc0002> circle ; {FOUR} square", (BOX,), ("square",)),
        (f"circle {FOUR} square", (BOX,), ("square",)),
        (f"{FOUR}{''.join(CODES[:16])} square", (BOX,), ("square",)),
        (f"{FOUR} red circle<eos>", (BOX,), ("red circle",)),
        ("", (), ()),
        ("<eos>", (), ()),
    ],
)
def test_boxes_and_labels_of_an_answer(
    tiny: Path, tmp_path: Path, text: str, boxes: tuple[Any, ...], labels: tuple[str, ...]
) -> None:
    value = parsed(load(tiny, tmp_path).family, text, Size(1023, 1023))
    assert isinstance(value, Boxes)
    assert value.boxes == boxes
    assert value.labels == labels


@ONE
@pytest.mark.parametrize("text", ["a red circle", "<loc0001><loc0002><loc0003> circle", "<seg001><seg002>", ";"])
def test_answer_without_a_box_is_unparsable(tiny: Path, tmp_path: Path, text: str) -> None:
    assert parsed(load(tiny, tmp_path).family, text, Size(100, 50)) is None


@ONE
def test_scores_are_the_mean_probabilities_of_their_tokens(tiny: Path, tmp_path: Path) -> None:
    """Coordinates have 1/2 each and words 1/4 each; the separator and mask tokens do not count."""
    text = f"{FOUR}{''.join(CODES[:16])} red circle ; {FOUR}"
    value = parsed(load(tiny, tmp_path).family, text, Size(1023, 1023))
    assert value.region_scores == pytest.approx((0.5, 0.5))
    assert value.label_scores == pytest.approx((0.25, 1.0))


def test_scores_of_an_answer_are_the_softmax_of_the_logits(tiny: Path, tmp_path: Path) -> None:
    """Computed again by one forward pass over prompt and answer."""
    [name, *_] = rivals.images(tmp_path)
    model = load(tiny, tmp_path, max_new_tokens=10)
    prompted = paligemma.generative.Prompted(0, Image.open(tmp_path / name), "detect red circle", "refer")
    [written] = model._generated([prompted])
    inputs = model.family.inputs([prompted.image], [prompted.text])
    answer = torch.tensor([written.ids])
    begin = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["token_type_ids"] = torch.cat([inputs["token_type_ids"], torch.ones_like(answer)], dim=1)
    with torch.inference_mode():
        logits = model.loaded.model(**inputs).logits[0, begin - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, answer.T)[:, 0].tolist()
    assert written.log_probabilities == pytest.approx(expected, abs=1e-4)


@ONE
@pytest.mark.parametrize(
    ("text", "value"),
    [("red circle<eos>", Text(("red circle",))), ("", Text(("",))), (FOUR, None), (f"red {FOUR}", Text(("red",)))],
)
def test_words_of_an_answer_are_without_coordinates(tiny: Path, tmp_path: Path, text: str, value: Any) -> None:
    assert parsed(load(tiny, tmp_path).family, text, Size(100, 50), "vqa") == value


@ONE
@pytest.mark.parametrize(
    ("text", "is_mask"),
    [
        ("<loc0000><loc0000><loc1023><loc1023>" + "".join(CODES[:16]) + " circle", True),
        ("<loc0000><loc0000><loc1023><loc1023>" + "".join(CODES[:15]) + " circle", False),
        ("<loc0000><loc0000><loc1023><loc1023> circle" + "".join(CODES[:16]), False),
        ("<loc1023><loc0000><loc0000><loc1023>" + "".join(CODES[:16]), False),  # bottom above top
        ("<loc0000><loc0000><loc0001><loc0001>" + "".join(CODES[:16]), False),  # no whole pixel
        ("a circle", False),
        ("", False),
    ],
)
def test_mask_needs_a_box_and_sixteen_codes(tiny: Path, tmp_path: Path, text: str, is_mask: bool) -> None:
    family = load(tiny, tmp_path, vae=str(write_vae(tmp_path / "vae.npz"))).family
    value = parsed(family, text, Size(100, 50), "segment")
    assert isinstance(value, Mask) is is_mask
    assert value is None or value.size == Size(100, 50)


# ---------------------------------------------------------------------------- bad input


def test_segment_is_answered_only_with_the_decoder() -> None:
    assert "segment" not in MIX.answers({})
    assert "segment" in MIX.answers({"vae": "vae-oid.npz"})
    assert ENTRIES["paligemma-3b-ft-vqav2-448"].answers({"vae": "x"}) == {"vqa"}


@ONE
def test_decoder_changes_the_fingerprint(tiny: Path, tmp_path: Path) -> None:
    vae = str(write_vae(tmp_path / "vae.npz"))
    assert load(tiny, tmp_path, vae=vae).fingerprint != load(tiny, tmp_path).fingerprint


@ONE
def test_resampling_of_the_folder_is_part_of_the_fingerprint(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2).save_pretrained(folder)
    assert load(folder, tmp_path).fingerprint != load(tiny, tmp_path).fingerprint


def test_decoder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"--vae .*no such file; the authors' vae-oid.npz"):
        load(tmp_path, tmp_path, vae=str(tmp_path / "none.npz"))
    with pytest.raises(UsageError, match="tuned for one task without masks"):
        load(tmp_path, tmp_path, ENTRIES["paligemma-3b-ft-vqav2-448"], vae=str(write_vae(tmp_path / "vae.npz")))


@ONE
def test_image_processor_of_another_size_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    SiglipImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="makes 64 x 64 pixels; the model takes 32 x 32"):
        load(folder, tmp_path)


@ONE
def test_tokenizer_without_coordinates_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    plain = rivals.word_tokenizer(SPECIAL)
    named = {"bos_token": "<bos>", "pad_token": "<pad>", "eos_token": "<eos>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **named).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="no row of tokens <loc0000> to <loc1023>"):
        load(folder, tmp_path)


@ONE
def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(MIX, tiny, tmp_path / "cache", monkeypatch)
