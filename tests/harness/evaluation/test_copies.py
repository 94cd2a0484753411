"""A copy in parquet gives the run of the official files, answer for answer, and says what it lacks."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness
from harness import images, runner
from harness.cli import main
from harness.core import Run
from harness.errors import DataError, UsageError
from harness.evaluation import comparing, scoring
from harness.evaluation.copies import Copied, named
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.plan import DataSource, loaded_of, source_of
from harness.evaluation.request import Request, Scorers
from harness.report.joined import why_not
from tasks import TASKS, hub
from tests import copies
from tests.baselines.test_hub import reach
from tests.copies import COPIES, copy_of
from tests.hub import COMMIT, Hub, serving

GROUPS = {  # the metrics that a copy cannot give, by the beginning of their names
    "nocaps": ("CIDEr ",),
    "vizwiz": ("accuracy ", "answerability "),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, miniature: Path) -> Path:
    """An empty cache folder; the miniature is drawn before, into the usual one."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def like_the_miniature(monkeypatch: pytest.MonkeyPatch, miniature: Path) -> None:
    """The table of copies with the categories of the miniature instead of COCO's."""
    given = json.loads((miniature / "coco/annotations/instances_val2017.json").read_text())["categories"]
    settings = {"names": [each["name"] for each in given], "ids": [each["id"] for each in given]}
    table = hub.table()
    changed = [
        msgspec.structs.replace(copy, settings=settings) if copy.form == "detection" else copy for copy in table.copies
    ]
    monkeypatch.setattr(hub, "table", lambda: msgspec.structs.replace(table, copies=tuple(changed)))


def _official(task: str, root: Path, to: Path) -> Path:
    """The official files; those of detection without marks of crowds, which the copy lacks."""
    if task != "coco_detection":
        return root
    name = "coco/annotations/instances_val2017.json"
    shutil.copytree(root / "coco/val2017", to / "coco/val2017")
    content = json.loads((root / name).read_text())
    content["annotations"] = [{**each, "iscrowd": 0} for each in content["annotations"]]
    (to / name).parent.mkdir()
    (to / name).write_text(json.dumps(content))
    return to


def _answers(request: Request) -> tuple[Run, list[tuple[str, tuple[str, ...], Any, Any]]]:
    """A run, and the image, the output, the value and the target of each sample, in order."""
    [evaluated] = evaluate_each(request)
    _, loaded, _ = loaded_of(evaluated.run, request.data)
    answers = runner.kept_answers(loaded.samples, evaluated.folder, evaluated.run.spec.fingerprint)
    rows = [(s, answers[s.id]) for s in loaded.samples]
    return evaluated.run, [(s.question.image_name, a.raw, a.value, s.target) for s, a in rows]


@pytest.mark.parametrize("task", sorted(COPIES))
def test_copy_gives_the_answers_and_numbers_of_the_official_files(
    task: str, miniature: Path, tmp_path: Path, like_the_miniature: None
) -> None:
    folder, split = copy_of(task, miniature, tmp_path / "copy")
    model = "clip-nano" if task.endswith("_retrieval") else "florence2-nano"
    options = {} if model == "clip-nano" else {"beams": 1}
    both = []
    for place, root in (("a", _official(task, miniature, tmp_path / "official")), ("b", folder)):
        request = Request(
            task=task, model=model, data=str(root), split=split, limit=6, options=options, out=tmp_path / place,
            scorers=Scorers(meteor=False),
        )  # fmt: skip
        both.append(_answers(request))
    (official, expected), (run, found) = both
    assert found == expected and len(found) >= 6
    lacking = GROUPS.get(task, ())
    numbers = {name: one.value for name, one in official.metrics.items() if not name.startswith(lacking or "-")}
    assert numbers and numbers == {name: run.metrics[name].value for name in numbers}
    assert not {name for name in run.metrics.keys() - numbers.keys() if run.metrics[name].value is not None}
    assert run.spec.data == COPIES[task][0].replace("/", "--")
    assert run.provenance["copy"] == {"data": str(folder), "columns of": COPIES[task][0], "official": False}
    copy = next(copy for copy in hub.table().copies if copy.repo == COPIES[task][0])
    assert [note.startswith(f"{copy.repo}: ") for note in run.provenance.get("notes", [])] == [True] * len(copy.lacks)


@pytest.mark.parametrize("task", sorted(set(COPIES) - {"coco_detection", "refcoco", "refcoco_plus", "refcocog"}))
def test_samples_of_a_copy_are_the_official_samples_with_their_ids(task: str, miniature: Path, tmp_path: Path) -> None:
    folder, split = copy_of(task, miniature, tmp_path)
    samples = source_of(str(folder), "x", embedded=False).of(TASKS[task], split).load(TASKS[task], split)
    official = DataSource("x", miniature).load(TASKS[task], split)
    if task in GROUPS:
        official = [replace(sample, groups=()) for sample in official]
    if task == "coco_caption":  # Karpathy's file has no sizes
        official = [replace(sample, question=replace(sample.question, size=None)) for sample in official]
    assert samples == official


def test_copy_with_the_ids_of_refcoco_gives_the_official_samples(miniature: Path, tmp_path: Path) -> None:
    copies.write(
        tmp_path / "jxu124--refcoco", "test", copies.REFER_WITH_IDS,
        copies.refer_with_ids(miniature, "refcoco", "unc", "testA"),
    )  # fmt: skip
    task, photos = TASKS["refcoco"], miniature / "coco/train2014"
    source = source_of(str(tmp_path / "jxu124--refcoco"), "x", embedded=False, images=photos)
    samples = source.of(task, "testA").load(task, "testA")
    assert samples == source_of(str(miniature), "x", embedded=False, images=photos).load(task, "testA")
    run = harness.evaluate(
        "refcoco", "whole-image", data=tmp_path / "jxu124--refcoco", images=photos, split="testA", out=tmp_path / "r"
    )
    assert run.status == "complete" and "no images" in run.provenance["notes"][0]
    again, _ = scoring.score_again(run.id, out=tmp_path / "r")
    assert again.metrics == run.metrics
    with pytest.raises(DataError, match=r"has no images; give --images FOLDER, with those of refcoco"):
        harness.evaluate("refcoco", "oracle", data=tmp_path / "jxu124--refcoco", split="testA", out=tmp_path / "r")


def test_images_of_a_copy_serve_official_annotations(miniature: Path, tmp_path: Path) -> None:
    """Flickr30k Entities, whose images are behind a form; and RefCOCO's masks, which the copy lacks."""
    copies.write(tmp_path / "lmms-lab/flickr30k", "test", copies.FLICKR30K, copies.flickr30k(miniature))
    own = {"data": tmp_path / "lmms-lab/flickr30k", "annotations": miniature / "flickr30k", "split": "val"}
    run = harness.evaluate("flickr30k", "florence2-nano", limit=4, beams=1, out=tmp_path / "a", **own)
    other = harness.evaluate(
        "flickr30k", "florence2-nano", data=miniature, split="val", limit=4, beams=1, out=tmp_path / "b"
    )
    assert run.status == "partial" and run.metrics == other.metrics and "notes" not in run.provenance
    assert scoring.score_again(run.id, out=tmp_path / "a")[0].metrics == run.metrics
    folder, split = copy_of("refcoco", miniature, tmp_path)
    own = {"data": folder, "annotations": miniature / "refer/refcoco", "split": split, "limit": 3}
    masks = harness.evaluate("refcoco_res", "florence2-nano", beams=1, out=tmp_path / "a", **own)
    assert masks.spec.data == "refcoco" and masks.status == "partial" and masks.counts["asked now"] > 0


def test_one_model_reads_the_images_of_each_split(miniature: Path, tmp_path: Path) -> None:
    """The splits of a copy have roots of their own, so the model is built for each."""
    for split in ("testA", "testB"):
        copies.write(
            tmp_path / "lmms-lab/RefCOCO", split, copies.REFER, copies.refer(miniature, "refcoco", "unc", split)
        )
    request = Request(
        task="refcoco", split="testA,testB", model="florence2-nano", data=str(tmp_path / "lmms-lab/RefCOCO"), limit=2,
        options={"beams": 1}, out=tmp_path / "r",
    )  # fmt: skip
    assert [each.run.status for each in evaluate_each(request)] == ["partial", "partial"]


# ---------------------------------------------------------------------------- what is not official


@pytest.fixture
def refcoco(miniature: Path, tmp_path: Path) -> Path:
    """The copy of RefCOCO with val and testA."""
    folder, _ = copy_of("refcoco", miniature, tmp_path)
    copies.write(folder, "val", copies.REFER, copies.refer(miniature, "refcoco", "unc", "val"))
    return folder


def test_split_that_is_not_the_official_one_is_refused(refcoco: Path, tmp_path: Path) -> None:
    message = r"val of lmms-lab/RefCOCO is not the official split: it has 8,811 rows.*--split testA, testB, or give the"
    with pytest.raises(DataError, match=message):
        harness.evaluate("refcoco", "oracle", data=refcoco, out=tmp_path / "r")


def test_task_that_the_copy_cannot_score_is_refused(refcoco: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has only the images of refcoco_res \(no sentence ids.*by --annotations"):
        harness.evaluate("refcoco_res", "oracle", data=refcoco, split="testA", out=tmp_path / "r")
    message = r"has refcoco, and the images of refcoco_res; vqav2 has the copies lmms-lab/COCO-Caption, lmms-lab/VQAv2$"
    with pytest.raises(DataError, match=message):
        harness.evaluate("vqav2", "oracle", data=refcoco, out=tmp_path / "r")
    with pytest.raises(DataError, match=r"and the images of refcoco_res; no task of 'vqa\*' is among them"):
        Copied(refcoco).tasks("vqa*")


@pytest.mark.parametrize("named", [True, False])
def test_task_without_a_copy_says_what_there_is(named: bool, refcoco: Path, tmp_path: Path) -> None:
    where = refcoco if named else refcoco.rename(tmp_path / "mine")
    message = r"odinw13 needs the official files \(`data list --task odinw13`\): kcz358/ODinW-13 has neither file names"
    with pytest.raises(DataError, match=message):
        harness.evaluate("odinw13", "oracle", data=where, split="test", out=tmp_path / "r")


def test_strict_refuses_a_copy_that_lacks_something(refcoco: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lmms-lab/RefCOCO: no sentence ids.*leave --strict out"):
        harness.evaluate("refcoco", "oracle", data=refcoco, split="testA", strict=True, out=tmp_path / "r")


def test_no_published_figure_stands_beside_a_run_on_a_copy(refcoco: Path, tmp_path: Path) -> None:
    run = harness.evaluate("refcoco", "oracle", data=refcoco, split="testA", out=tmp_path / "r")
    provenance = {**run.provenance, "published counts": "same"}
    assert why_not(replace(run, provenance=provenance)) == "its data is a copy, not the official files"


# ---------------------------------------------------------------------------- other commands


def test_data_check_of_a_copy(refcoco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["data", "check", "--task", "refcoco", "--data", str(refcoco), "--decode"]
    assert main([*check, "--split", "testA"]) == 0
    told = capsys.readouterr().out
    assert "note     lmms-lab/RefCOCO: no sentence ids" in told and "published: 5,657" in told
    assert main(check) == 3
    assert "wrong    val of lmms-lab/RefCOCO is not the official split" in capsys.readouterr().out


def test_record_of_a_copy_says_where_its_data_lies(refcoco: Path, miniature: Path, tmp_path: Path) -> None:
    one = harness.evaluate("refcoco", "oracle", data=refcoco, split="testA", out=tmp_path / "r")
    two = harness.evaluate("refcoco", "whole-image", data=refcoco, split="testA", out=tmp_path / "r")
    assert scoring.score_again(one.id, out=tmp_path / "r")[0].metrics == one.metrics
    for data in (None, str(miniature), str(refcoco)):  # as `report --data ROOT` reads the runs of several data sets
        [_] = comparing.compare_each(one.id, two.id, data=data, out=tmp_path / "r")
    path = next((refcoco / "data").glob("testA-00001*"))
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows - 1), path)
    with pytest.raises(DataError, match="is of other annotations of lmms-lab--RefCOCO than those in"):
        scoring.score_again(one.id, out=tmp_path / "r")


def test_predictions_are_scored_on_a_copy(miniature: Path, tmp_path: Path) -> None:
    folder, _ = copy_of("textvqa", miniature, tmp_path)
    harness.evaluate("textvqa", "whole-image", data=miniature, out=tmp_path / "a", export=tmp_path / "files")
    run = harness.score("textvqa", tmp_path / "files/textvqa_val.json", data=folder, out=tmp_path / "b")
    assert run.provenance["copy"]["columns of"] == "lmms-lab/textvqa"
    assert run.metrics["accuracy"].value is not None


def test_commands_that_need_official_files_say_so(refcoco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "--task", "refcoco", "--data", str(refcoco)]) == 3
    assert "data pack needs a data root of official files, and" in capsys.readouterr().err


def test_all_tasks_are_those_of_the_copy(refcoco: Path, miniature: Path, tmp_path: Path) -> None:
    assert [task.name for task in Copied(refcoco).tasks("refcoco*")] == ["refcoco", "refcoco_res"]
    folder, _ = copy_of("coco_caption", miniature, tmp_path)
    assert {task.name for task in Copied(folder).tasks("all")} == {"coco_caption", "coco_retrieval"}


# ---------------------------------------------------------------------------- which copy a folder is


def test_folder_without_a_known_name_is_read_by_its_columns(refcoco: Path, tmp_path: Path) -> None:
    """RefCOCO and RefCOCO+ have the same columns, and the task decides."""
    moved = refcoco.rename(tmp_path / "mine")
    run = harness.evaluate("refcoco", "oracle", data=moved, split="testA", out=tmp_path / "r")
    assert run.spec.data == "mine" and run.provenance["copy"]["columns of"] == "lmms-lab/RefCOCO"
    with pytest.raises(DataError, match=r"has no column 'image_id' of type string; it has question_id"):
        Copied(moved).prepare(TASKS["textcaps"], "val")


@pytest.mark.parametrize("name", ["lmms-lab/RefCOCO", "lmms-lab--refcoco", "datasets--lmms-lab--RefCOCO/snapshots/abc"])
def test_path_names_the_repository(name: str, tmp_path: Path) -> None:
    assert Copied(tmp_path / name).name == "lmms-lab--RefCOCO"
    assert Copied(tmp_path / f"{name.partition('/snap')[0]}X").name != "lmms-lab--RefCOCO"


def test_environment_may_name_a_copy(refcoco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLORENCE2_HARNESS_DATA", str(refcoco))
    run = harness.evaluate("refcoco", "oracle", split="testA", out=tmp_path / "r")
    assert run.spec.data == "lmms-lab--RefCOCO"


def test_official_data_root_is_no_copy(miniature: Path) -> None:
    assert named(str(miniature)) is None and named("miniature") is None
    assert source_of(str(miniature), "x", embedded=False).copied is None


# ---------------------------------------------------------------------------- bad input


def test_missing_column_ends_the_run_with_one_line(
    refcoco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (refcoco / "data").glob("testA-*"):
        pq.write_table(pq.read_table(path).drop_columns(["bbox"]), path)
    run = ["run", "--task", "refcoco", "--model", "oracle", "--split", "testA", "--out", str(tmp_path / "r")]
    assert main([*run, "--data", str(refcoco)]) == 3
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "has no column 'bbox' of type list of number; it has question_id, image" in told[0]


def test_retyped_column_is_refused_before_any_row_is_read(refcoco: Path) -> None:
    path = next((refcoco / "data").glob("testA-00001*"))
    table = pq.read_table(path)
    texts = pa.array([str(box) for box in table["bbox"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("bbox"), "bbox", texts), path)
    with pytest.raises(DataError, match=r"testA-00001-of-00002\.parquet: column 'bbox' has the type string; expected"):
        Copied(refcoco).prepare(TASKS["refcoco"], "testA")


def test_torn_file_is_refused_and_nothing_is_kept(refcoco: Path, cache: Path) -> None:
    path = next((refcoco / "data").glob("testA-00001*"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"testA-00001-of-00002\.parquet cannot be read as parquet"):
        Copied(refcoco).prepare(TASKS["refcoco"], "testA")
    assert not list(cache.rglob("images.json"))


def test_bad_row_is_named(refcoco: Path, cache: Path) -> None:
    path = next((refcoco / "data").glob("testA-00000*"))
    rows = pq.read_table(path).to_pylist()
    rows[8]["file_name"] = "COCO_val2014_1.jpg"
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(copies.REFER.items()))), path, row_group_size=7)
    message = (
        r"testA-00000-of-00002\.parquet, row 1 of row group 1: file_name is 'COCO_val2014_1\.jpg'; expected COCO_tr"
    )
    with pytest.raises(DataError, match=message):
        Copied(refcoco).prepare(TASKS["refcoco"], "testA")
    assert not list(cache.rglob("images.json"))


def test_image_without_bytes_fails_its_own_questions_only(miniature: Path, tmp_path: Path) -> None:
    rows = copies.textvqa(miniature)
    gone = rows[0]["image_id"]
    for row in rows:
        if row["image_id"] == gone:
            row["image"] = {"bytes": None, "path": f"{gone}.jpg"}
    copies.write(tmp_path / "lmms-lab--textvqa", "validation", copies.TEXTVQA, rows[:6])
    run = harness.evaluate(
        "textvqa", "florence2-nano", data=tmp_path / "lmms-lab--textvqa", beams=1, out=tmp_path / "r"
    )
    assert run.status == "incomplete"
    assert run.counts["failed"] == sum(row["image_id"] == gone for row in rows[:6])
    assert "its row has no bytes" in next(iter(run.provenance["failures"].values()))


def test_changed_file_is_read_again(refcoco: Path) -> None:
    first = Copied(refcoco).prepare(TASKS["refcoco"], "testA")
    assert Copied(refcoco).prepare(TASKS["refcoco"], "testA").root == first.root
    path = next((refcoco / "data").glob("testA-00001*"))
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows - 1), path)
    second = Copied(refcoco).prepare(TASKS["refcoco"], "testA")
    assert second.root != first.root
    read = [pickle.loads((each.root / "refer/refcoco/refs(unc).p").read_bytes()) for each in (first, second)]
    assert len(read[0]) == len(read[1]) + 1


# ---------------------------------------------------------------------------- the hub


@pytest.fixture
def served(miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves the copy of TextVQA."""
    folder, _ = copy_of("textvqa", miniature, tmp_path)
    with serving({("lmms-lab/textvqa", "main"): folder}) as served:
        reach(served.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield served


def test_run_on_the_hub_and_then_without_network(
    served: Hub, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--task", "textvqa", "--model", "whole-image", "--data", "hf://lmms-lab/textvqa", "--json"]
    assert main([*run, "--out", str(tmp_path / "a")]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["provenance"]["copy"]["data"] == f"hf://lmms-lab/textvqa@{COMMIT}"
    assert first["spec"]["data"] == "lmms-lab--textvqa"
    reach("http://127.0.0.1:9", monkeypatch)
    assert main([*run, "--out", str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == first["metrics"]
    assert scoring.score_again(first["id"], out=tmp_path / "a")[0].id == first["id"]


def test_gated_repository_and_no_network_are_one_line_each(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [
        "run",
        "--task",
        "textvqa",
        "--model",
        "oracle",
        "--data",
        "hf://lmms-lab/textvqa",
        "--out",
        str(tmp_path / "r"),
    ]
    served.gated.add("lmms-lab/textvqa")
    assert main(run) == 3
    assert "the hub wants an agreement; accept its terms at" in capsys.readouterr().err
    reach("http://127.0.0.1:9", monkeypatch)
    assert main(run) == 6
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "listing its files failed" in told[0]


def test_repository_that_is_not_in_the_table_is_refused_without_a_request(served: Hub, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"hf://someone/else: the columns of this data set are not known; known are lmms"
    ):
        harness.evaluate("textvqa", "oracle", data="hf://someone/else", out=tmp_path / "r")
    with pytest.raises(UsageError, match="expected hf://OWNER/NAME"):
        harness.evaluate("textvqa", "oracle", data="hf://else", out=tmp_path / "r")
    assert served.asked == []


def test_images_of_a_copy_are_read_from_its_rows(miniature: Path, tmp_path: Path) -> None:
    folder, split = copy_of("vizwiz", miniature, tmp_path)
    prepared = Copied(folder).prepare(TASKS["vizwiz"], split)
    for path in sorted((miniature / "vizwiz/val").iterdir()):
        assert images.read_bytes(prepared.root, f"vizwiz/val/{path.name}") == path.read_bytes()
    assert not images.exists(prepared.root, "vizwiz/val/in-parquet.txt")
