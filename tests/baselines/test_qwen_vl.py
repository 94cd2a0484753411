"""Qwen2.5-VL and Qwen3-VL at tiny size: the inputs and tokens of transformers' own use, the boxes, and the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from baselines import qwen_vl
from baselines.entry import Entry, Setting
from baselines.generative import Written
from harness.core import Boxes, Failure, Grounded, Phrase, Quads, Question, Size, Text
from harness.errors import CheckpointError, UsageError
from tests.baselines import chats, rivals

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
ENTRIES = {entry.name: entry for entry in qwen_vl.ENTRIES}
SIZE = Size(1000, 500)
SMALLEST, LARGEST = 512, 4096  # pixels: below 20 x 20 nothing is enlarged to, above 64 x 64 all is shrunk to
# Both templates as published; that of Qwen3-VL without its parts for tools, videos and system messages.
TEMPLATE_25 = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}"
    "<|im_end|>\n{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in "
    "content or 'image_url' in content %}{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}"
    "Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == "
    "'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video "
    "{{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)
TEMPLATE_3 = """{%- set image_count = namespace(value=0) %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- for content in message.content %}
            {%- if content.type == 'image' or 'image' in content or 'image_url' in content %}
                {%- set image_count.value = image_count.value + 1 %}
                {%- if add_vision_id %}Picture {{ image_count.value }}: {% endif -%}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif 'text' in content %}
                {{- content.text }}
            {%- endif %}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def save(folder: Path, name: str) -> None:
    """A checkpoint of Qwen2.5-VL or Qwen3-VL, with the files of the hub's repositories."""
    tokens = chats.tokenizer(SPECIAL, pad="<|endoftext|>", eos="<|im_end|>")
    ids = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    text = {
        "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    vision = {"depth": 2, "num_heads": 2, "patch_size": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    model: Any
    if name == "qwen2.5":
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
        config = Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={
                **vision, "hidden_size": 32, "out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 16,
            },
            **ids,
        )  # fmt: skip
        model = Qwen2_5_VLForConditionalGeneration(config)
    else:
        rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0, "mrope_interleaved": True}
        config3 = Qwen3VLConfig(
            text_config={**text, "head_dim": 8, "rope_parameters": rope},
            vision_config={
                **vision, "hidden_size": 32, "out_hidden_size": 32, "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            **ids,
        )  # fmt: skip
        model = Qwen3VLForConditionalGeneration(config3)
    model.generation_config.update(eos_token_id=[2, 0], do_sample=True, repetition_penalty=1.7, temperature=0.7)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    pixels = Qwen2VLImageProcessorPil(patch_size=4).to_dict()
    del pixels["size"]  # Qwen2.5-VL's repositories state the limits in the older form
    limits = {"min_pixels": SMALLEST, "max_pixels": LARGEST}
    if name == "qwen3":
        limits = {"size": {"shortest_edge": SMALLEST, "longest_edge": LARGEST}}  # type: ignore[dict-item]
    (folder / "preprocessor_config.json").write_text(json.dumps({**pixels, **limits}))
    template = TEMPLATE_25 if name == "qwen2.5" else TEMPLATE_3
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))


@pytest.fixture(scope="module", params=["qwen2.5", "qwen3"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind."""
    folder = tmp_path_factory.mktemp(request.param)
    save(folder, request.param)
    return ENTRIES["qwen2.5-vl-3b" if request.param == "qwen2.5" else "qwen3-vl-2b"], folder


def load(tiny: tuple[Entry, Path], root: Path, **options: Any) -> Any:
    entry, folder = tiny
    return entry.load(Setting(root=root, weights=str(folder), device="cpu"), **options)


def processor_of(tiny: tuple[Entry, Path], family: Any, **size: Any) -> Any:
    kind = Qwen3VLProcessor if family.third else Qwen2_5_VLProcessor
    pixels = Qwen2VLImageProcessorPil.from_pretrained(tiny[1])
    if size:
        pixels.size = size
    tokens = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_token_id": 5, "video_token_id": 6}
    return chats.official(kind, pixels, chats.tokenizer(SPECIAL, pad="<|endoftext|>", eos="<|im_end|>"), **tokens)


def test_inputs_equal_those_of_the_processor(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    family = load(tiny, tmp_path).family
    chats.check_inputs(family, processor_of(tiny, family), tmp_path, "<|image_pad|>")


def test_limits_of_pixels_given_as_options_replace_those_of_the_checkpoint(
    tiny: tuple[Entry, Path], tmp_path: Path
) -> None:
    model = load(tiny, tmp_path, min_pixels=1024, max_pixels=2048)
    processor = processor_of(tiny, model.family, shortest_edge=1024, longest_edge=2048)
    chats.check_inputs(model.family, processor, tmp_path, "<|image_pad|>")
    assert model.fingerprint != load(tiny, tmp_path).fingerprint
    with pytest.raises(UsageError, match=r"5000 pixels, is larger than the largest, 4096"):
        load(tiny, tmp_path, min_pixels=5000)
    with pytest.raises(UsageError, match="--max-pixels 0: at least 1"):
        load(tiny, tmp_path, max_pixels=0)


def test_checkpoint_that_states_no_limits_needs_them_as_options(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    bare_folder = tmp_path / "weights"
    shutil.copytree(folder, bare_folder)
    path = bare_folder / "preprocessor_config.json"
    stated = {name: value for name, value in json.loads(path.read_text()).items() if not name.endswith("_pixels")}
    path.write_text(json.dumps({**stated, "size": {"min_pixels": SMALLEST, "max_pixels": LARGEST}}))  # an older form
    with pytest.raises(CheckpointError, match=r"states no area in pixels: give --min-pixels"):
        load((entry, bare_folder), tmp_path)
    model = load((entry, bare_folder), tmp_path, min_pixels=SMALLEST, max_pixels=LARGEST)
    assert model.fingerprint == load(tiny, tmp_path).fingerprint


def test_tokens_equal_those_of_processor_and_generate(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    names = rivals.images(tmp_path)
    model = load(tiny, tmp_path, max_new_tokens=12)
    asked = [Question(name, None, "vqa", text="what color is the circle") for name in names]
    ours = rivals.answers(model, list(enumerate(asked)))
    processor = processor_of(tiny, model.family)
    kind = Qwen3VLForConditionalGeneration if model.family.third else Qwen2_5_VLForConditionalGeneration
    theirs = kind.from_pretrained(tiny[1])
    words = "what color is the circle\nAnswer the question using a single word or phrase."
    system = "" if model.family.third else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    user = f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{words}<|im_end|>\n"
    turn = f"{system}{user}<|im_start|>assistant\n"
    for place, name in enumerate(names):
        inputs = processor(images=[Image.open(tmp_path / name)], text=[turn], return_tensors="pt")
        settings = {"max_new_tokens": 12, "do_sample": False, "repetition_penalty": 1.0, "temperature": None}
        written = theirs.generate(**inputs, **settings)[0][inputs["input_ids"].shape[1] :]
        assert ours[place].raw == (processor.tokenizer.decode(written, skip_special_tokens=True),)
        assert ours[place].value == Text((ours[place].raw[0].strip(),))


def test_positions_are_those_of_an_image_because_its_tokens_are_marked(
    tiny: tuple[Entry, Path], tmp_path: Path
) -> None:
    """Without `mm_token_type_ids` transformers gives a text's positions, without an error."""
    model = load(tiny, tmp_path)
    image = Image.new("RGB", (40, 24))
    inputs = model.family.inputs([image], ["what color"])
    assert inputs["mm_token_type_ids"].tolist() == [[int(token == 5) for token in inputs["input_ids"][0]]]
    network = model.loaded.model
    common = {"inputs_embeds": None, "video_grid_thw": None, "cache": None, "image_grid_thw": inputs["image_grid_thw"]}
    positions = network.model.compute_3d_position_ids(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        **common,
    )
    # 40 x 24 pixels are 5 x 3 tokens of 8 x 8 pixels: columns and rows count from the first token of the image.
    first = inputs["input_ids"][0].tolist().index(5)
    expected = [[first + row for row in range(3) for _ in range(5)], [first + column for column in range(5)] * 3]
    assert positions[-2:, 0, first : first + 15].tolist() == expected
    assert positions[:, 0, first + 15].tolist() == [first + 5] * 3  # text goes on after the longer side


def test_answers_do_not_depend_on_the_batch(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    rivals.check_batches(*tiny, tmp_path, max_new_tokens=5)


@pytest.mark.parametrize("tiny", ["qwen3"], indirect=True)
def test_tasks_are_run_scored_compared_and_reported(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    tasks = [
        *rivals.CAPTION, *rivals.VQA, *rivals.DETECT, *rivals.FIND, *rivals.REFER, "flickr30k",
        "icdar2015", "refcocog_caption",
    ]  # fmt: skip
    rivals.check_commands(*tiny, tmp_path, tasks, max_new_tokens=2)


def test_chat_text_is_that_of_the_published_templates(
    tiny: tuple[Entry, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Golden strings: what chat_template.json of Qwen/Qwen2.5-VL-3B-Instruct and Qwen/Qwen3-VL-2B-Instruct writes."""
    turn = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
    assert turn == qwen_vl.TURN
    assert qwen_vl.SYSTEM == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    family = load(tiny, tmp_path).family  # its folder has the template
    assert family.form == (turn if family.third else qwen_vl.SYSTEM + turn)
    assert not caplog.text  # the pinned text is the template's


def test_prompts_are_those_of_their_sources(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    family = load(tiny, tmp_path).family

    def prompts(kind: Any, text: str = "", *names: str) -> list[str]:
        phrases = tuple(Phrase(name) for name in names)
        return list(family.prompts(Question("a.jpg", Size(4, 3), kind, text=text, phrases=phrases)))

    # QwenLM/Qwen3-VL issues #947 and #1035
    located = ["Locate the red dog in the image and output the bbox coordinates in JSON format."]
    assert prompts("refer", "the red dog") == located
    assert prompts("ground", "the red dog and the { }", "the red dog", "the { }") == [
        *located, "Locate the { } in the image and output the bbox coordinates in JSON format.",
    ]  # fmt: skip
    together = "Locate dog, cat in the image and output the bbox coordinates in JSON format."
    if family.third:  # QwenLM/Qwen3-VL, evaluation/ODinW-13/dataset_utils.py, line 156
        together = (
            "Locate every instance that belongs to the following categories: 'dog, cat'. "
            "Report bbox coordinates in JSON format."
        )
    assert prompts("find", "", "dog", "cat") == [together]
    assert prompts("detect", "", "dog", "cat") == [together]
    assert prompts("find", "", "dog", "toy, small", "cat") == [together, together.replace("dog, cat", "toy, small")]
    # lmms-eval, nocaps and vqav2; the README and cookbooks/ocr.ipynb of QwenLM/Qwen3-VL
    assert prompts("caption") == ["Provide a one-sentence caption for the provided image."]
    assert prompts("vqa", "why?") == ["why?\nAnswer the question using a single word or phrase."]
    assert prompts("detailed_caption") == prompts("more_detailed_caption") == ["Describe this image."]
    assert prompts("ocr") == ["Read all the text in the image."]
    assert prompts("vqa", "is <|image_pad|> a word?")[0].startswith("is   a word?")


def test_prompt_of_text_spotting_is_that_of_the_cookbook(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    """`cookbooks/ocr.ipynb` of QwenLM/Qwen2.5-VL, now QwenLM/Qwen3-VL with another wording; as programs quote it."""
    family = load(tiny, tmp_path).family
    expected = "Spotting all the text in the image with line-level, and output in JSON format."
    if family.third:
        expected = (
            "Spotting all the text in the image with line-level, and output in JSON format as "
            "[{'bbox_2d': [x1, y1, x2, y2], 'text_content': 'text'}, ...]."
        )
    assert list(family.prompts(Question("a.jpg", Size(4, 3), "ocr_regions"))) == [expected]


@pytest.mark.parametrize(
    ("size", "region", "resized"),
    [  # a third and a half of the sides; Qwen2.5-VL's sizes are those of the next test but one
        (Size(640, 480), (160.0, 120.0, 320.0, 480.0), [161, 119, 322, 476]),
        (Size(480, 640), (120.0, 160.0, 240.0, 640.0), [119, 161, 238, 644]),
        (Size(20, 10), (5.0, 2.5, 10.0, 10.0), [21, 14, 42, 56]),
    ],
)
def test_region_in_a_prompt_is_in_the_coordinates_of_the_answers(
    tiny: tuple[Entry, Path], tmp_path: Path, size: Size, region: Any, resized: list[int]
) -> None:
    """QwenLM/Qwen3-VL issues #782 (pixels after resizing) and #1427 (0 to 1000; the prompt, in Chinese)."""
    family = load(tiny, tmp_path).family
    family._smallest, family._largest = 56 * 56, 12_845_056  # as published, for the sizes of Qwen2.5-VL
    family._pixels.patch_size = 14
    written = "[250, 250, 500, 1000]" if family.third else str(resized)

    def prompt(kind: Any) -> str:
        [text] = family.prompts(Question("a.jpg", size, kind, region=region))
        return str(text)

    assert prompt("describe") == f"Describe the object in the bbox region {written}."
    assert prompt("name") == (
        f"What is the object in the bbox region {written}?\nAnswer the question using a single word or phrase."
    )
    assert prompt("read") == f"Read all the text in the bbox region {written}."


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (None, "needs a region, and this question has none"),
        ((9.0, 1.0, 3.0, 4.0), "is inverted or empty"),
        ((1.0, 1.0, float("nan"), 4.0), "is inverted or empty"),
        ((400.0, 1.0, 500.0, 4.0), "is outside the image, which is 40x24"),
    ],
)
@pytest.mark.parametrize("tiny", ["qwen3"], indirect=True)
def test_region_that_cannot_be_written_is_a_failure_of_its_own(
    tiny: tuple[Entry, Path], tmp_path: Path, region: Any, message: str
) -> None:
    [name, *_] = rivals.images(tmp_path)
    model = load(tiny, tmp_path, max_new_tokens=2)
    asked = [Question(name, None, "describe", region=where) for where in (region, (30.0, 10.0, 90.0, 99.0))]
    results = dict(model.answer(enumerate(asked)))
    assert isinstance(results[0], Failure) and message in results[0].reason
    assert isinstance(results[1].value, Text)


def bare(*, third: bool) -> qwen_vl.QwenVl:
    """The family without a checkpoint, to read outputs, with Qwen2.5-VL's published limits."""
    family = object.__new__(qwen_vl.QwenVl)
    family.third = third
    family._smallest, family._largest = 56 * 56, 12_845_056
    family._pixels = SimpleNamespace(patch_size=16 if third else 14, merge_size=2)
    return family


def value(family: qwen_vl.QwenVl, kind: Any, *texts: str, size: Size = SIZE) -> Any:
    question = Question("a.jpg", None, kind, phrases=tuple(Phrase(str(place)) for place, _ in enumerate(texts)))
    return family.value(question, [Written(text, (), truncated=False) for text in texts], size)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        (Size(640, 480), (644, 476)),  # 22.86 and 17.14 times 28
        (Size(480, 640), (476, 644)),
        (Size(20, 10), (84, 56)),  # below 56 x 56: 20 and 10 times sqrt(3136 / 200) = 3.96, rounded up to 28s
        (Size(5000, 4000), (4004, 3192)),  # above 12,845,056: divided by sqrt(20e6 / 12,845,056) = 1.248, rounded down
    ],
)
def test_boxes_of_qwen25_are_pixels_of_the_resized_image(size: Size, resized: tuple[int, int]) -> None:
    family = bare(third=False)
    assert family.extent(size) == resized
    box = (0.25, 0.5, 0.75, 1.0)  # of the sides
    written = [round(share * side, 6) for share, side in zip(box, resized * 2, strict=True)]
    read = value(family, "refer", json.dumps([{"bbox_2d": written, "label": "dog"}]), size=size)
    assert read.boxes[0] == pytest.approx([share * side for share, side in zip(box, size * 2, strict=True)], abs=1e-4)
    assert read.labels == ("dog",)


def test_resized_size_is_that_of_the_pixels(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    """The extent is the grid of the image processor, in pixels: on images wide, tall, small and large."""
    family = load(tiny, tmp_path).family
    if family.third:
        assert family.extent(Size(64, 32)) == (1000, 1000)
        return
    for size in (*rivals.SIZES, (7, 100), (300, 200), (1, 1)):
        features = family._pixels([Image.new("RGB", size)], size={"shortest_edge": SMALLEST, "longest_edge": LARGEST})
        _, rows, columns = features["image_grid_thw"][0]
        assert family.extent(Size(*size)) == (columns * 4, rows * 4)


@pytest.mark.parametrize("size", [Size(640, 480), Size(480, 640), Size(20, 10), Size(5000, 4000)])
def test_boxes_of_qwen3_are_thousandths_of_the_image(size: Size) -> None:
    text = '```json\n[\n\t{"bbox_2d": [250, 500, 750, 1000], "label": "dog"}\n]\n```'
    width, height = size
    expected = (width / 4, height / 2, width * 3 / 4, height)
    assert value(bare(third=True), "refer", text, size=size) == Boxes((expected,), ("dog",))


def test_boxes_outside_are_clipped_to_the_image() -> None:
    text = '[{"bbox_2d": [-20, 10, 2000, 1100], "label": "dog"}]'
    assert value(bare(third=True), "refer", text).boxes == ((0.0, 5.0, 1000.0, 500.0),)


def test_lists_that_are_empty_cut_off_or_prose_are_no_boxes() -> None:
    family = bare(third=True)
    assert value(family, "find", "```json\n[]\n```") == Boxes(())
    assert value(family, "find", "There is no dog in the image.") is None
    cut = '```json\n[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}, {"bbox_2d": [5, 5,'
    assert value(family, "find", cut) == Boxes(((0, 0, 100, 50),), ("dog",))
    assert value(family, "find", '[{"bbox_2d": [5, 5,') is None
    apart = '[{"bbox_2d": [0, 0, 10, 10], "label": "toy, small"}]'
    assert value(family, "find", cut, apart).labels == ("dog", "toy, small")


WORDS = [
    ('```json\n[\n\t{"bbox_2d": [100, 200, 300, 400], "text_content": "EXIT 7"}\n]\n```', ["EXIT 7"]),
    ("[{'bbox_2d': [100, 200, 300, 400], 'text_content': 'EXIT'}]", ["EXIT"]),  # as the prompt of Qwen3-VL shows
    ('[{"bbox_2d": [300, 400, 100, 200], "text_content": "turned"}]', ["turned"]),
    ('[{"bbox_2d": [100, 200, 300, 400], "label": "EXIT"}]', ["EXIT"]),
    ('[{"bbox_2d": [100, 200, 300, 400], "text_content": "a\\"b{c}"}, {"bbox_2d": [5, 6', ['a"b{c}']),  # cut off
    ('[{"bbox_2d": [100, 200, 300, 400]}]', [""]),
    ('[{"bbox_2d": [100, 200, 300, 400], "text_content": 7}]', [""]),
    ('[{"bbox_2d": [1, 2], "text_content": "A"}, {"bbox_2d": [100, 200, 300, 400], "text_content": "B"}]', ["B"]),
]


@pytest.mark.parametrize(("text", "labels"), WORDS)
@pytest.mark.parametrize("size", [Size(1000, 500), Size(200, 3000)])
def test_spotted_text_has_the_corners_of_its_box_clockwise_from_the_top_left(
    text: str, labels: list[str], size: Size
) -> None:
    left, top, right, bottom = size.width * 0.1, size.height * 0.2, size.width * 0.3, size.height * 0.4
    spotted = value(bare(third=True), "ocr_regions", text, size=size)
    assert isinstance(spotted, Quads) and list(spotted.labels) == labels
    [quad] = spotted.quads
    for point, expected in zip(quad, ((left, top), (right, top), (right, bottom), (left, bottom)), strict=True):
        assert point == pytest.approx(expected)


def test_spotted_text_of_qwen25_is_in_pixels_of_the_resized_image() -> None:
    text = '[{"bbox_2d": [161, 119, 322, 476], "text_content": "EXIT"}]'  # quarters and halves of 644 x 476
    spotted = value(bare(third=False), "ocr_regions", text, size=Size(640, 480))
    assert spotted == Quads((((160.0, 120.0), (320.0, 120.0), (320.0, 480.0), (160.0, 480.0)),), ("EXIT",))


@pytest.mark.parametrize("text", ["", "EXIT 7", '{"text_content": "EXIT"}', '[{"bbox_2d": [NaN, 1, 2, 3]}]', "{" * 999])
def test_spotting_without_a_box_is_unparsable_and_an_empty_list_is_no_text(text: str) -> None:
    assert value(bare(third=True), "ocr_regions", text) is None
    assert value(bare(third=True), "ocr_regions", "```json\n[]\n```") == Quads(())


def test_phrases_are_grounded_one_by_one() -> None:
    family = bare(third=True)
    one = '[{"bbox_2d": [0, 0, 100, 100], "label": "a"}, {"bbox_2d": [0, 0, 10, 10], "label": "b"}]'
    grounded = value(family, "ground", one, "none", "[]")
    assert grounded == Grounded((((0, 0, 100, 50), (0, 0, 10, 5)), (), ()))
    assert value(family, "ground", "none", "none") is None


def test_image_that_is_too_long_is_a_failure_of_its_own(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    Image.new("RGB", (201, 1)).save(tmp_path / "long.png")
    Image.new("RGB", (200, 1)).save(tmp_path / "wide.png")
    model = load(tiny, tmp_path, max_new_tokens=2)
    results = dict(model.answer(enumerate(Question(name, None, "caption") for name in ("long.png", "wide.png"))))
    assert results[0] == Failure("an image of 201 x 1: Qwen-VL takes sides of at most 200 to 1")
    assert results[1].value is not None


def test_checkpoint_is_loaded_from_the_hub_and_then_without_it(
    tiny: tuple[Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats.check_hub(*tiny, tmp_path, monkeypatch)


def test_checkpoint_of_the_other_generation_is_refused(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    other = ENTRIES["qwen3-vl-2b" if entry.name == "qwen2.5-vl-3b" else "qwen2.5-vl-3b"]
    with pytest.raises(CheckpointError, match=r"is of a 'qwen\w+' model; this entry needs 'qwen\w+'"):
        other.load(Setting(root=tmp_path, weights=str(folder), device="cpu"))
