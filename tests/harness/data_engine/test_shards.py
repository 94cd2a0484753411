"""An engine folder: ranges of images, files that are written once, locks, and folders of something else."""

from __future__ import annotations

import errno
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data_engine import tables
from harness.data_engine.filtering import filter_images
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import ImageRow, Origin, Verdict, digest
from harness.data_engine.regions import Boxes
from harness.data_engine.round_states import Outcome, RoundState, Scores
from harness.data_engine.shards import Engine
from harness.errors import DataError, ResourceError, UsageError
from tests.harness.data_engine.engines import ONE, ORIGINS, OTHER, image_row, region

RECIPE = Recipe(name="test")
NONE = Scores(0.0, 0.0, 0.0)
IMAGES = [image_row(place) for place in range(5)]


def engine(path: Path, images: Sequence[ImageRow] = IMAGES) -> Engine:
    return Engine.create(path, images, RECIPE, "photos", shard=2)


def test_shards_are_ranges_of_the_sorted_references(tmp_path: Path) -> None:
    made = engine(tmp_path, IMAGES[::-1])
    assert list(made.shards) == [0, 1, 2]
    assert [[image.reference for image in made.images_of(n)] for n in made.shards] == [
        ["000.png", "001.png"], ["002.png", "003.png"], ["004.png"],
    ]  # fmt: skip
    assert list(Engine.open(tmp_path).images()) == IMAGES


def test_measures_count_with_their_raw_file_and_of_the_model_that_the_recipe_names(tmp_path: Path) -> None:
    """A kill between the two files leaves measures, which nothing reads; a text of two regions has the highest."""
    made = engine(tmp_path)
    made.add_origins([ONE, OTHER])
    box = region((1.0, 2.0, 3.0, 4.0), image=IMAGES[0])

    def rows(origin: str, *numbers: float) -> list[dict[str, object]]:
        return [
            {"image": box.image, "annotation": box.id, "origin": origin, "name": "similarity", "value": number}
            for number in numbers
        ]

    made.write_part(0, 0, "a" * 24, [], [box], rows(ONE.id, 0.25, 0.5, 0.125))
    assert made.measures(0, 0) == {box.image: {box.id: {"similarity": 0.5}}}
    stages = made.told_inputs(0, 0, [])
    made.write_part(0, 0, "b" * 24, [], [], rows(OTHER.id, -1.0))
    assert made.measures(0, 0) == {box.image: {box.id: {"similarity": -1.0}}}  # the last that was asked
    named = made.with_recipe(replace(RECIPE, specialists={"match": ("one",)}))
    assert named.measures(0, 0) == {box.image: {box.id: {"similarity": 0.5}}}
    assert len({stages, made.told_inputs(0, 0, []), named.told_inputs(0, 0, [])}) == 3
    [record, _] = made.raw_records(0, 0)
    assert record.measures == {box.id: {"similarity": -1.0}}
    (tmp_path / "round0/raw" / f"00000-{'b' * 24}.parquet").unlink()
    assert made.measures(0, 0) == {box.image: {box.id: {"similarity": 0.5}}}


def test_images_that_are_yielded_are_not_held_and_have_the_same_digest(tmp_path: Path) -> None:
    """The digest is that of the list.

    Peaks of Python's memory grow by 190 bytes for each further image, and would by 260 with a list of the images.
    """
    made = engine(tmp_path / "list")
    assert Engine.create(tmp_path / "e", iter(IMAGES), RECIPE, "photos", shard=2).images_digest == made.images_digest
    assert made.images_digest == digest([[image.reference, image.sha256] for image in IMAGES])
    with pytest.raises(ValueError, match=r"001\.png comes after 002\.png; images are in the order of references"):
        Engine.create(tmp_path / "x", iter([IMAGES[2], IMAGES[1]]), RECIPE, "photos")
    assert not (tmp_path / "x/engine.json").exists() and not list((tmp_path / "x").glob("*.partial"))
    peaks = {count: peak_of(tmp_path / str(count), count) for count in (500, 3000)}
    assert peaks[3000] - peaks[500] < 230 * 2500


def test_full_disk_leaves_the_images_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(tmp_path / "e")
    before = (tmp_path / "e/images.parquet").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.os, "fsync", full)
    for write in (lambda: made.replace_images(iter(IMAGES)), lambda: engine(tmp_path / "new")):
        with pytest.raises(ResourceError, match=r"cannot write .*images.parquet: No space left on device"):
            write()
    assert (tmp_path / "e/images.parquet").read_bytes() == before
    assert not list(tmp_path.rglob("*.partial")) and not (tmp_path / "new/engine.json").exists()


def peak_of(path: Path, count: int) -> int:
    """The peak of Python's memory, in bytes, while an engine of `count` images is made and its images are decided."""
    rows = (
        replace(image, reference=f"{place:06d}.png", hash=int(image.sha256[:16], 16))
        for place, image in enumerate(map(image_row, range(count)))
    )
    tracemalloc.start()
    made = Engine.create(path, rows, RECIPE, "photos", shard=250)
    filter_images(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_opened_engine_equals_the_one_that_was_made(tmp_path: Path) -> None:
    assert engine(tmp_path) == Engine.open(tmp_path)
    assert engine(tmp_path) == Engine.open(tmp_path)  # made again: nothing changes


def test_folder_of_other_images_is_refused(tmp_path: Path) -> None:
    engine(tmp_path)
    with pytest.raises(DataError, match="was made of 5 images that are not the 4 of photos"):
        engine(tmp_path, IMAGES[:4])
    with pytest.raises(DataError, match="or an image has changed since"):
        engine(tmp_path, [*IMAGES[:4], replace(IMAGES[4], sha256="0" * 64)])


def test_folder_without_engine_and_later_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="engine annotate` makes one"):
        Engine.open(tmp_path)
    engine(tmp_path)
    state = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps(state | {"schema": 9}))
    with pytest.raises(DataError, match="has the schema 9; this harness reads 1"):
        Engine.open(tmp_path)
    (tmp_path / "engine.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Engine.open(tmp_path)


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="photos: there is no image"):
        engine(tmp_path, [])


def test_origins_are_appended_once_and_a_torn_line_is_removed(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.add_origins([ONE])
    with (tmp_path / "origins.jsonl").open("a") as stream:
        stream.write('{"kind": "spec')
    made.add_origins([ONE, OTHER])
    assert made.origins == {ONE.id: ONE, OTHER.id: OTHER}
    assert len((tmp_path / "origins.jsonl").read_text().splitlines()) == 2


ANSWER = {
    "image": IMAGES[2].sha256, "question": "q", "kind": "detect", "text": "", "region": None, "origin": ONE.id,
    "raw": ["cat"], "readable": True, "failure": "", "tries": 1,
}  # fmt: skip


def test_answers_count_only_with_their_raw_file(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.write_part(0, 1, "d1", [ANSWER], [region((0.0, 0.0, 9.0, 9.0), image=IMAGES[2])])
    assert list(made.answers(0)) == list(made.answers(0, 1)) == [ANSWER]
    assert list(made.answers(0, 0)) == list(made.answers(1)) == []
    (tmp_path / "round0/raw/00001-d1.parquet").unlink()  # interrupted between the two
    assert list(made.answers(0)) == []


def test_records_are_raw_until_a_filter_told_and_then_as_it_told(tmp_path: Path) -> None:
    made = engine(tmp_path)
    cat = region((0.0, 0.0, 9.0, 9.0), image=IMAGES[2])
    dog = region((0.0, 0.0, 9.0, 9.0), "dog", origin=OTHER, image=IMAGES[3])
    made.write_part(0, 1, "d1", [], [cat, dog])
    made.write_part(0, 1, "d2", [], [dog])  # the same assertion again
    assert [record.annotations for record in made.records()] == [(), (), (cat,), (dog,), ()]
    verdict = Verdict(annotation=dog.id, status="dropped", stage="boxes.score")
    told = [
        record.extended(verdicts=[verdict] if dog in record.annotations else []) for record in made.raw_records(1, 0)
    ]
    made.write_told(1, 0, told, "inputs")
    assert list(made.records())[2:4] == told
    assert [list(record.kept()) for record in made.records()] == [[], [], [cat], [], []]


def test_dropped_image_has_a_row_and_no_record(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.replace_images(replace(image, stage="images.tiny") if image == IMAGES[3] else image for image in IMAGES)
    assert [image.stage for image in made.images()] == ["", "", "", "images.tiny", ""]
    made.write_part(0, 1, "d1", [], [region((0, 0, 9, 9), image=IMAGES[3])])
    assert [record.image.reference for record in made.records()] == ["000.png", "001.png", "002.png", "004.png"]
    with pytest.raises(UsageError, match="are not the 5 of"):
        made.replace_images(IMAGES[:4])


def test_inputs_of_verdicts_change_with_raw_files_images_and_settings(tmp_path: Path) -> None:
    made = engine(tmp_path)
    before = made.told_inputs(0, 0, "s")
    assert made.told_inputs(0, 0, "s") == before != made.told_inputs(0, 0, "t")
    made.write_part(0, 1, "d1", [], [])
    assert made.told_inputs(0, 0, "s") == before  # another shard's
    made.write_part(0, 0, "d1", [], [])
    after = made.told_inputs(0, 0, "s")
    made.replace_images([replace(IMAGES[0], stage="images.tiny"), *IMAGES[1:]])
    assert len({before, after, made.told_inputs(0, 0, "s")}) == 3


def test_second_worker_on_a_shard_is_refused(tmp_path: Path) -> None:
    made = engine(tmp_path)
    with made.locked("00001"):
        with pytest.raises(UsageError, match=r"another process is working on 00001 .*--shard"), made.locked("00001"):
            pass
        with made.locked("00000"):
            pass
    with made.locked("00001"):
        pass


def test_rounds_are_those_that_were_begun(tmp_path: Path) -> None:
    made = engine(tmp_path)
    assert list(made.rounds) == []
    assert list(made.records()) == []
    made.write_part(1, 0, "d1", [], [])
    assert list(made.rounds) == [0, 1]
    assert [path.parent.parent.name for path in made.parts(0, 1)] == ["round1"]
    assert made.parts(0, 0) == []


def test_round_that_was_not_promoted_is_no_part_of_a_later_one(tmp_path: Path) -> None:
    made = engine(tmp_path)
    assert made.current == 0
    outcomes = {number: Outcome(number != 2, 1, NONE, NONE, (0.0, None, None), {}) for number in (1, 2, 3)}
    taught = [Origin(kind="model", name="taught", fingerprint="t", round=number) for number in (1, 2, 3, 4)]
    made.add_origins([*ORIGINS.values(), *taught])
    for number, outcome in outcomes.items():
        made.write_part(number, 0, f"d{number}", [], [])
        made.keep_state(RoundState(number, 0, {}, "", {}, outcome))
    made.keep_state(RoundState(4, 3, {}, ""))  # begun
    assert list(made.rounds) == [0, 1, 2, 3, 4]
    assert (made.current, made.lineage(4), made.lineage(2)) == (3, (0, 1, 3, 4), (0, 1, 2))
    assert [path.parent.parent.name for path in made.parts(0, 4)] == ["round1", "round3"]
    assert {origin.round for origin in made.origins_of(3).values()} == {0, 1, 3}


def test_thresholds_of_a_round_complete_the_recipe_for_it_alone(tmp_path: Path) -> None:
    made = engine(tmp_path)
    recipe = Recipe(name="r", stages=(Boxes(scores={"one": 0.7}),))
    made = made.with_recipe(recipe)
    made.add_origins(ORIGINS.values())
    made.keep_state(RoundState(1, 0, {}, "", {"boxes": {"scores": {"one": 0.1, "other": 0.2}}}))
    scores = {each.name: id_ for id_, each in ORIGINS.items()}
    assert made.decided_by(0) == recipe.resolved(ORIGINS)
    assert made.decided_by(1).as_data()["stages"][0]["scores"] == {scores["one"]: 0.7, scores["other"]: 0.2}


def test_origin_ids_of_the_tests_differ() -> None:
    assert len(ORIGINS) == 4
