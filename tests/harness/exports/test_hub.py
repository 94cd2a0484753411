"""Files for a model's repository: `.eval_results` and the card, as huggingface_hub reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from harness.core import Estimate, Run
from harness.errors import DataError, UsageError
from harness.exports import hub
from tests.harness.report.runs import a_box_run

BENCHMARK = "owner/referring:refcoco_val"
CARD = "---\nlicense: mit\ntags:\n- vision\n---\n# Mine\n\nText of mine.\n"


def a_run_for_the_hub(value: float = 55.25, **changes: Any) -> Run:
    provenance = {"date": "2026-11-26T08:00:00Z", "harness": "0.16.0", "seen": "not trained on this task"}
    return a_box_run(value=value, provenance=provenance, **changes)


def test_eval_results_are_read_by_huggingface_hub(tmp_path: Path) -> None:
    paths = hub.write(a_run_for_the_hub(), tmp_path, "boxes of expressions", BENCHMARK)
    assert paths == [tmp_path / ".eval_results/refcoco_val.yaml", tmp_path / "README.md"]
    [entry] = parse_eval_result_entries(yaml.safe_load(paths[0].read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("owner/referring", "refcoco_val", 55.25)
    assert entry.date == "2026-11-26" and entry.verify_token is None
    assert entry.notes == (
        "Acc@0.5 55.2 [54.0, 56.5] (95 % interval over 4 images); refcoco val, zero_shot; "
        "florence2-harness 0.16.0, run cocoflorence2-l"
    )


def test_card_keeps_its_text_and_gets_a_model_index_and_a_section(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    assert hub.write(a_run_for_the_hub(), tmp_path, "boxes | of expressions") == [tmp_path / "README.md"]
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "mit" and card.data.tags == ["vision"]
    [result] = card.data.eval_results
    assert (result.metric_name, result.metric_value, result.dataset_split) == ("Acc@0.5", 55.25, "val")
    assert "Text of mine." in card.text and "| Acc@0.5 | 55.2 [54.0, 56.5] | 10 |" in card.text
    assert "boxes \\| of expressions" in card.text and "not trained on this task" in card.text


def test_second_export_replaces_the_section_and_keeps_those_of_other_tasks(tmp_path: Path) -> None:
    other = a_run_for_the_hub(value=20.0)
    other = replace(other, spec=replace(other.spec, task="refcocog"))
    for run in (a_run_for_the_hub(), other, a_run_for_the_hub(value=61.5)):
        hub.write(run, tmp_path, "boxes")
    card = ModelCard.load(tmp_path / "README.md")
    assert sorted(result.metric_value for result in card.data.eval_results) == [20.0, 61.5]
    assert card.text.count("## refcoco, val") == card.text.count("## refcocog, val") == 1
    assert "61.5" in card.text and "55.2" not in card.text


@pytest.mark.parametrize(
    "run",
    [
        a_run_for_the_hub(data="miniature"),
        replace(a_run_for_the_hub(), status="partial"),
        replace(a_run_for_the_hub(), status="incomplete", metrics={}),
        replace(a_run_for_the_hub(), metrics={"Acc@0.5": Estimate(None, None, None, 0)}),
    ],
    ids=["miniature", "sample", "incomplete", "undefined"],
)
def test_run_that_is_no_result_of_a_split_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"for a model card$"):
        hub.write(run, tmp_path, "boxes", BENCHMARK)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("benchmark", ["owner/name", "name:task", "owner/name:", "a/b/c:task", "owner/name:a b"])
def test_benchmark_of_another_form_is_refused(benchmark: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OWNER/NAME:TASK_ID"):
        hub.write(a_run_for_the_hub(), tmp_path, "boxes", benchmark)
    assert not (tmp_path / ".eval_results").exists()


def test_second_entry_replaces_its_own_and_keeps_those_of_other_benchmarks(tmp_path: Path) -> None:
    for value, benchmark in ((20.0, BENCHMARK), (30.0, "owner/referring:other"), (61.5, BENCHMARK)):
        hub.write(a_run_for_the_hub(value=value), tmp_path, "boxes", benchmark)
    entries = parse_eval_result_entries(yaml.safe_load((tmp_path / ".eval_results/refcoco_val.yaml").read_text()))
    assert {entry.task_id: entry.value for entry in entries} == {"other": 30.0, "refcoco_val": 61.5}


@pytest.mark.parametrize("content", [b"- a", b"a: [", b"3", b"- dataset: x", b"\xff"])
def test_damaged_entries_are_refused_and_kept(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ".eval_results/refcoco_val.yaml"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^\.eval_results"):
        hub.write(a_run_for_the_hub(), tmp_path, "boxes", BENCHMARK)
    assert path.read_bytes() == content and not (tmp_path / "README.md").exists()


def test_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"^README\.md: not a text in UTF-8 \(byte 3\)"):
        hub.write(a_run_for_the_hub(), tmp_path, "boxes")


@pytest.mark.parametrize("metadata", ["a: [", "- a", "model-index: 3", "model-index:\n- {}"])
def test_card_with_damaged_metadata_is_refused_and_kept(metadata: str, tmp_path: Path) -> None:
    damaged = f"---\n{metadata}\n---\ntext\n"
    (tmp_path / "README.md").write_text(damaged)
    with pytest.raises(DataError, match=r"^README\.md: its (metadata|model-index) "):
        hub.write(a_run_for_the_hub(), tmp_path, "boxes")
    assert (tmp_path / "README.md").read_text() == damaged


def test_names_of_a_record_are_no_markup_of_the_card(tmp_path: Path) -> None:
    run = a_run_for_the_hub()
    hostile = replace(run, spec=replace(run.spec, task="a|<b>--> [x](y)", data="<script>"))
    hub.write(hostile, tmp_path, "<img>")
    text = ModelCard.load(tmp_path / "README.md").text
    assert "<script>" not in text and "<img>" not in text and "<b>" not in text
