"""tables.toml: every figure has a table, and every name in the file matches a figure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.published import Figure, by_table, every, tables
from harness.published.table import TOML, parse

FIGURES = (
    Figure("T1", "M", "", "zero_shot", "web", "RefCOCO REC", "val", "Acc", "10.0", "a paper", "Table 1", "high"),
    Figure("T1", "M", "", "zero_shot", "web", "RefCOCO REC", "average", "Acc", "10.0", "a paper", "Table 1", "high"),
    Figure("Sets", "M", "", "zero_shot", "", "Set Pistols", "test", "AP", "20.0", "a paper", "Table 2", "high"),
    Figure("Sets", "N", "", "zero_shot", "", "Set pistols", "test", "AP", "30.0", "a paper", "Table 2", "high"),
    Figure("Whole", "M", "", "zero_shot", "", "Sets", "test", "AP average", "20.0", "a paper", "Table 3", "high"),
)
TEXT = """
[T1]
title = "Table 1"
ours = [{ model = "m", protocol = "zero_shot", published_as = "M" }]
same_training = { web = "web data" }
average = { task = "RefCOCO REC", split = "average", metric = "Acc", of = { "RefCOCO REC" = ["val"] } }

[Whole]
title = "Averages"

[Sets]
title = "By data set"

[Sets.by_data_set]
task_prefix = "Set "
same = { Pistols = ["pistols"] }
averages_of = { table = "Whole", task = "Sets", protocol = "zero_shot", metrics = { mean = "AP average" } }
"""


def test_by_table_of_the_committed_files_places_every_figure() -> None:
    placed = by_table(every(), tables())
    assert sum(map(len, placed.values())) == len(every()) == 1760
    assert list(placed) == list(tables())
    assert all(placed.values()), "a table of tables.toml has no figure"


def test_parse_figure_without_a_table_raises_value_error_with_the_figure() -> None:
    lost = replace(FIGURES[0], table="T99")
    with pytest.raises(ValueError, match=r"^M, RefCOCO REC val Acc 10\.0: no table 'T99' in tables\.toml$"):
        parse(TEXT, [*FIGURES, lost])


def test_parse_valid_file_keeps_the_order_of_tables() -> None:
    specs = parse(TEXT, FIGURES)
    assert list(specs) == ["T1", "Whole", "Sets"]
    assert specs["T1"].training_of(FIGURES[0]) == "web data"
    layout = specs["Sets"].by_data_set
    assert layout is not None
    assert [layout.name_of(figure) for figure in FIGURES[2:4]] == ["Pistols", "Pistols"]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('title = "Table 1"', "", r"\[T1\]: Object missing required field `title`"),
        ("same_training", "same_trainings", r"\[T1\]: Object contains unknown field `same_trainings`"),
        ("published_as", "publishedas", r"\[T1\]: Object contains unknown field `publishedas` - at `\$.ours\[0\]`"),
        ('"zero_shot", published_as', '"one_shot", published_as', r"\[T1\]: Invalid enum value 'one_shot'"),
        ('published_as = "M"', 'published_as = "O"', r"\[T1\]: m: no zero_shot figure is published as 'O'"),
        ('model = "m", protocol = "zero', 'model = "m", protocol = "fine', r"\[T1\]: Invalid enum value 'fine_shot'"),
        ("{ web =", "{ wed =", r"\[T1\]: same_training: no figure has 'wed'"),
        ('split = "average"', 'split = "mean"', r"\[T1\]: average: no figure of RefCOCO REC mean Acc"),
        ('["val"]', '["val", "testA"]', r"\[T1\]: average: no figure of RefCOCO REC testA Acc"),
        ('"Set "', '"Sets "', r"\[Sets\]: task_prefix: 'Set Pistols' does not start with 'Sets '"),
        ("task_prefix =", 'also = "Other"\ntask_prefix =', r"\[Sets\]: no table 'Other' in tables.toml"),
        ('table = "Whole"', 'table = "Part"', r"\[Sets\]: no table 'Part' in tables.toml"),
        ('["pistols"]', '["Pistol"]', r"\[Sets\]: same: no figure has 'Pistol'"),
        ('"AP average"', '"AP mean"', r"\[Sets\]: averages_of: no figure of Sets AP mean"),
        ('task = "Sets"', 'task = "All"', r"\[Sets\]: averages_of: no figure of All AP average"),
        (
            "[Sets.by_data_set]",
            'ours = [{ model = "m", protocol = "zero_shot" }]\n[Sets.by_data_set]',
            r"\[Sets\]: a table with by_data_set cannot have",
        ),
        ("{ mean =", "{ mode =", r"\[Sets\]: Invalid enum value 'mode'"),
    ],
)
def test_parse_wrong_key_raises_value_error_with_the_table(right: str, wrong: str, message: str) -> None:
    assert TEXT.count(right) == 1
    with pytest.raises(ValueError, match=rf"^tables.toml, {message}"):
        parse(TEXT.replace(right, wrong), FIGURES)


def test_parse_published_as_under_another_protocol_raises_value_error() -> None:
    text = TEXT.replace('model = "m", protocol = "zero_shot"', 'model = "m", protocol = "fine_tuned"')
    with pytest.raises(ValueError, match="no fine_tuned figure is published as 'M'"):
        parse(text, FIGURES)


def test_names_of_our_models_are_those_of_their_sources() -> None:
    card = {f"Florence-2-{size}{tuned}" for size in ("base", "large") for tuned in ("", "-ft")}
    vits = {f"ViT-{size} (openai)" for size in ("B-32", "B-16", "L-14", "L-14-336")}
    siglip = {f"ViT-{size}-SigLIP-384 (webli)" for size in ("B-16", "L-16", "SO400M-14")}
    rivals = {
        "Kosmos-2", "GDINO-T (O365,GoldG,Cap4M)", "MM-GDINO-T (O365,GoldG,GRIT,V3Det)", "PaliGemma-3B pt-224",
        "PaliGemma-3B pt-448", "PaliGemma-3B pt-896",
        "OWLv2 OWL-ST/FT ensemble CLIP L/14 (= google/owlv2-large-patch14-ensemble family)",
    }  # fmt: skip
    named = {ours.published_as for spec in tables().values() for ours in spec.ours} - {""}
    assert named == {"Florence-2-B", "Florence-2-L"} | card | vits | siglip | rivals
    assert "[T4_zero_shot]" in TOML.read_text(encoding="utf-8")
