"""The commands of the data engine, as a person types them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from harness.data_engine.recipes import Recipe
from tests.harness.conftest import Call
from tests.harness.evaluation.engine_scenes import recipe, scenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes"), 12)


@pytest.fixture
def made(call: Call, root: Path, tmp_path: Path) -> Call:
    """Calls commands where the folder `engine` is annotated."""
    (tmp_path / "mine.toml").write_text(recipe().toml())
    status, out, _ = call("engine", "annotate", "--data", root, "--to", "engine", "--recipe", "mine.toml")
    assert status == 0
    assert "detect simulated-detector 12 12 0 0" in " ".join(out.split())
    return call


def test_annotate_again_asks_nothing(made: Call, root: Path) -> None:
    status, out, _ = made("engine", "annotate", "--data", root, "--to", "engine")
    rows = [line.split() for line in out.partition("images:")[0].splitlines()[1:]]
    assert status == 0
    assert {row[3] for row in rows} == {"0"}  # asked now


def test_filter_prints_what_changed_and_inspect_shows_it(made: Call) -> None:
    _, before, _ = made("engine", "inspect", "engine")
    status, out, _ = made("engine", "filter", "engine", "--set", "boxes.score=0.9", "--set", "boxes.nms=0.4")
    assert status == 0 and "shards with new verdicts: 1; unchanged: 0" in out
    _, after, _ = made("engine", "inspect", "engine")
    assert before != after and "dropped by boxes.score" in after
    _, out, _ = made("engine", "filter", "engine")
    assert "shards with new verdicts: 0; unchanged: 1" in out


def test_inspect_tells_the_story_of_an_image_and_the_victims_of_a_rule(made: Call) -> None:
    status, out, _ = made("engine", "inspect", "engine", "--image", "scenes/9000001.jpg")
    assert status == 0 and out.startswith("scenes/9000001.jpg: ") and "kept: region" in out
    status, out, _ = made("engine", "inspect", "engine", "--why", "boxes")
    assert status == 0 and "boxes.nms" in out and "boxes.agreement" in out
    status, out, _ = made("engine", "inspect", "engine", "--toml")
    assert Recipe.from_data(tomllib.loads(out), "out") == recipe()


def test_calibrate_prints_thresholds_and_filters_with_them(made: Call) -> None:
    status, out, err = made("engine", "calibrate", "engine", "--precision", "0.7")
    assert status == 0 and "simulated-detector-2" in out
    status, _, err = made("engine", "inspect", "engine")
    assert (status, err) == (0, "")  # nothing is out of date


def test_import_prints_what_people_said_and_what_was_left_out(made: Call, tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "9000001.jpg"}
    box = {"image_id": 1, "bbox": [1, 2, 30, 40], "category_id": 1}
    crowd = box | {"iscrowd": 1}
    file = {"images": [image], "annotations": [box, crowd], "categories": [{"id": 1, "name": "cow"}]}
    (tmp_path / "people.json").write_text(json.dumps(file))
    status, out, _ = made("engine", "import", "engine", "--coco", "people.json", "--licence", "CC BY 4.0")
    assert status == 0 and out.startswith("1 annotations by people\nleft out: 1 crowds\n")
    assert "region people 1 1" in " ".join(out.split())


def test_inspect_says_on_stderr_that_verdicts_are_out_of_date(made: Call, tmp_path: Path) -> None:
    file = tmp_path / "engine/round0/told/00000.parquet"
    file.unlink()
    status, _, err = made("engine", "inspect", "engine")
    assert status == 0 and "`engine filter` brings them up to date" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("import", "engine"), 2, "give either --coco FILE or --verdicts FILE"),
        (("import", "engine", "--coco", "none.json"), 3, "none.json is not there"),
        (("inspect", "nowhere"), 3, "nowhere is no engine folder: `engine annotate` makes one"),
        (("inspect", "engine", "--image", "x.jpg"), 2, "has no such image; its first is scenes/9000000.jpg"),
        (("inspect", "engine", "--why", "boxes.sise"), 2, "--why boxes.sise: no verdict that holds is of this rule"),
        (("filter", "engine", "--set", "boxes.nms=2.0"), 2, "nms is 2.0; it is from 0 to 1"),
        (("filter", "engine", "--recipe", "nan"), 2, "there is no recipe 'nan'; there are fld, nano"),
        (("calibrate", "engine", "--precision", "90"), 2, "--precision 90.0: above 0 and at most 1"),
        (("annotate", "--data", ".", "--to", "e", "--specialist", "detect"), 2, "--specialist detect: KIND=MODEL"),
        (("annotate", "--data", ".", "--to", "e"), 2, "the recipe fld names no specialist"),
        (("annotate", "--data", "none", "--to", "e"), 3, "none is no folder; give a folder of images"),
    ],
)
def test_mistake_is_one_line(made: Call, words: tuple[str, ...], status: int, message: str) -> None:
    code, out, err = made("engine", *words)
    assert (code, out) == (status, "")
    assert err.startswith("error: ") and message in err


def test_folder_of_damaged_files_is_one_line(made: Call, tmp_path: Path) -> None:
    path = next((tmp_path / "engine/round0/raw").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    status, _, err = made("engine", "filter", "engine", "--set", "boxes.nms=0.4")
    assert status == 3 and f"{path.name} cannot be read as parquet" in err


def test_audit_draws_and_then_estimates(made: Call, tmp_path: Path) -> None:
    status, out, _ = made("engine", "audit", "engine", "--sample", "40", "--least", "4")
    assert status == 0
    assert "annotations of" in out and "page.html" in out and "second.html" in out
    [sample] = Path("engine/audit").glob("*/sample.jsonl")
    head, *items = (json.loads(text) for text in sample.read_text().splitlines())
    lines = [
        {"sample": head["sample"], "annotation": item["annotation"], "verdict": "right", "by": "Ann"} for item in items
    ]
    (tmp_path / "ann.jsonl").write_text("".join(json.dumps(text) + "\n" for text in lines))
    (tmp_path / "bob.jsonl").write_text("".join(json.dumps(text | {"by": "Bob"}) + "\n" for text in lines[:5]))
    status, out, _ = made("engine", "audit", "engine", "--verdicts", "ann.jsonl", "--verdicts", "bob.jsonl")
    assert status == 0
    [kept] = [text for text in out.splitlines() if text.startswith("kept ")]
    assert "100.0 [" in kept and "0.0 [0.0, " in kept
    assert "Ann and Bob: 5 annotations, 100.0 [100.0, 100.0] % equal, kappa undefined" in out
    status, _, err = made("engine", "audit", "engine", "--verdicts", "absent.jsonl")
    assert status == 3 and "cannot be read" in err


def test_export_writes_and_refuses_unknown_licences(made: Call) -> None:
    status, _, err = made("engine", "export", "engine", "--as", "jsonl", "--to", "a.jsonl")
    assert status == 2 and "is unknown: give --licence any to export it nevertheless" in err
    status, out, _ = made("engine", "export", "engine", "--as", "coco", "--to", "coco.json", "--licence", "any")
    assert status == 0 and "annotations of 12 images: coco.json" in out
    assert len(json.loads(Path("coco.json").read_text())["images"]) == 12
    status, _, err = made("engine", "export", "engine", "--as", "yolo", "--to", "x")
    assert status == 2 and "there is no format 'yolo' to export; there are coco, jsonl" in err


def test_report_writes_a_page(made: Call, tmp_path: Path) -> None:
    status, out, _ = made("engine", "report", "engine", "--to", "page")
    assert status == 0 and out.strip().endswith("index.html")
    assert "simulated-detector" in (tmp_path / "page" / "waterfall.md").read_text()


def test_refine_prints_the_verdict_of_the_round_and_its_churn(made: Call, tmp_path: Path) -> None:
    few = [word for setting in ("steps=2", "batch=2", "rate=1e-6", "average=0") for word in ("--set", setting)]
    command = ("engine", "refine", "engine", "--model", "florence2-nano", "--folds", "1", "--taught", "detect", *few)
    status, _, err = made(*command)
    assert status == 2 and "the recipe simulated has no stage sources, which a round needs" in err
    stages = [f'[[stages]]\nname = "{name}"\n' for name in ("sources", "boxes", "combine", "parents")]
    (tmp_path / "whole.toml").write_text('name = "whole"\n' + "".join(stages))
    assert made("engine", "filter", "engine", "--recipe", "whole.toml")[0] == 0
    status, out, _ = made(*command)
    assert status == 0 and "F1 before" in out and "kept before" in out
    assert "nothing is built on a round that was not promoted" in out
    assert made(*command)[1] == out  # again: nothing is taught or asked
    status, _, err = made(*command, "--precision", "0.8")
    assert status == 2 and "was begun with precision 0.9, and not 0.8; give --rounds 2 for another" in err
    assert made("engine", "report", "engine", "--to", "page")[0] == 0
    assert "| 1 | 0 | florence2-nano |" in (tmp_path / "page" / "rounds.md").read_text()


def test_rewrite_counts_first_and_then_asks_within_the_budget(made: Call) -> None:
    """The scenes' specialists are detectors: without a brief text, there is nothing to write about."""
    given = ("engine", "rewrite", "engine", "--base-url", "http://127.0.0.1:1/v1", "--served", "m")
    status, out, _ = made(*given, "--dry-run")
    assert status == 0 and "images: 12; 0 to 0 requests, about 0 tokens" in out
    status, out, _ = made(*given, "--requests", "5")
    assert status == 0 and "as it was 12" in " ".join(out.split()) and "requests: 0" in out
    status, _, err = made("engine", "rewrite", "engine")
    assert status == 2 and "rewriting needs --base-url" in err and len(err.splitlines()) == 1
