"""The first run of a re-ranking run: resumed, in the identity, in the record, and refused where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.cli import main
from harness.errors import DataError, HarnessError, UsageError
from harness.evaluation.api import compare, evaluate, score
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request
from harness.evaluation.scoring import score_again
from tests.harness.evaluation import first_runs
from tests.harness.evaluation.first_runs import Embeds, Matches, first, second


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def base(out: Path) -> Any:
    return first(out)


def test_record_names_the_first_run_and_the_number_of_candidates(base: Any, out: Path) -> None:
    run = second(out, base.id[:6], top=3)
    [folder] = out.glob(f"*/*/*/*/*/{base.id}")
    assert run.provenance["candidates"] == {"run": base.id, "model": "Embeds", "top": 3, "folder": str(folder)}
    assert run.spec.model == "Embeds+Matches" and run.status == "partial"
    assert second(out, base.id, name="mine", top=3).spec.model == "mine"


def test_default_is_lavis_128_candidates(base: Any, out: Path) -> None:
    assert second(out, base).provenance["candidates"]["top"] == 128


def test_interrupted_run_resumes_and_a_finished_one_asks_nothing(base: Any, tmp_path: Path, out: Path) -> None:
    """24 + 120 candidates; the first process is killed after 50 answers."""
    first_again = first(tmp_path)
    assert first_again.id == base.id
    with pytest.raises(KeyboardInterrupt):
        second(tmp_path, first_again, top=3, model=Matches(stop=50))
    rest, nothing = Matches(), Matches()
    run = second(tmp_path, first_again, top=3, model=rest)
    assert len(rest.asked) == 8 * 3 + 40 * 3 - 50
    assert second(tmp_path, first_again, top=3, model=nothing) == run and not nothing.asked
    assert run.metrics == second(out, base, top=3, name="whole").metrics


def test_more_candidates_are_another_run_that_reuses_the_answers(base: Any, tmp_path: Path) -> None:
    again = first(tmp_path)
    few = second(tmp_path, again, top=3)
    model = Matches()
    more = second(tmp_path, again, top=4, model=model)
    assert more.id != few.id and more.spec.data_hash != few.spec.data_hash
    assert len(model.asked) == 8 + 40  # one more for each query


def test_other_answers_of_the_first_run_are_another_identity(base: Any, out: Path) -> None:
    other = first(out, model=Embeds("embeds v2"))
    runs = [second(out, run, top=3) for run in (base, other)]
    assert runs[0].spec.data_hash != runs[1].spec.data_hash and runs[0].id != runs[1].id


def test_kept_answers_are_scored_again_and_the_record_stays(base: Any, out: Path) -> None:
    run = second(out, base, top=5)
    again, _ = score_again(run.id, out=out)
    assert again.metrics == run.metrics and again.id == run.id


def test_two_second_models_are_compared_pair_by_pair(base: Any, out: Path) -> None:
    runs = [second(out, base, top=3, model=Matches(name), name=name) for name in ("one", "two")]
    [comparison] = compare(*runs, out=out)
    assert (comparison.samples, comparison.left_out, comparison.other) == (144, 0, 0)


def test_runs_on_other_candidates_are_not_compared(base: Any, out: Path) -> None:
    runs = [second(out, base, top=top) for top in (3, 5)]
    with pytest.raises(DataError, match=f"differ in candidates \\(the best 3 of run {base.id} and the best 5 of run"):
        compare(*runs, out=out)


def test_exported_scores_are_read_again(base: Any, out: Path, tmp_path: Path) -> None:
    from harness.data.pair_scores import NPZ
    from harness.evaluation.plan import samples_of

    run = second(out, base, top=3, export=tmp_path, name="exported")
    _, samples, _ = samples_of(run, None)
    answers = NPZ.read(tmp_path / "flickr30k_rerank_test.npz", samples)
    stored = first_runs.stored(out, run)
    assert {name: answer.value for name, answer in answers.items()} == stored


def test_scores_of_a_file_give_the_metrics_of_the_run_that_wrote_it(base: Any, out: Path, tmp_path: Path) -> None:
    run = second(out, base, top=3, export=tmp_path, name="to score")
    path = tmp_path / "flickr30k_rerank_test.npz"
    scored = score("flickr30k_rerank", path, candidates=base, top=3, data="miniature", out=out)
    assert (scored.metrics, scored.status, scored.spec.limit) == (run.metrics, "partial", first_runs.LIMIT)
    assert scored.spec.data_hash == run.spec.data_hash and scored.spec.protocol == "predictions"
    assert scored.spec.model == "Embeds+flickr30k_rerank_test"
    assert scored.provenance["candidates"] == run.provenance["candidates"]
    named = score("flickr30k_rerank", path, candidates=base.id[:6], top=3, data="miniature", out=out, name="theirs")
    assert named.spec.model == "theirs" and named.metrics == run.metrics
    again, _ = score_again(scored.id, out=out)
    assert (again.metrics, again.id) == (run.metrics, scored.id)
    replayed = second(out, base, top=3, model=f"replay:{path}", name="replayed")
    assert replayed.metrics == run.metrics


def test_scores_of_a_file_by_the_command_line_need_and_name_the_first_run(
    base: Any, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = second(out, base, top=3, export=tmp_path, name="to score by the command line")
    path = str(tmp_path / "flickr30k_rerank_test.npz")
    given = ["score", "--task", "flickr30k_rerank", "--predictions", path, "--data", "miniature", "--out", str(out)]
    assert main([*given, "--candidates", base.id, "--top", "3"]) == 0
    value = run.metrics["mean recall"].value
    assert value is not None and f"{value:.1f}" in capsys.readouterr().out
    assert main(given) == 2
    complaint = capsys.readouterr().err
    assert "--predictions needs --candidates RUN, the run of flickr30k_retrieval" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"candidates": None}, UsageError, "its samples are the candidates of a first run, so --predictions needs"),
    ({"top": 2}, DataError, "are no candidates of this run"),
    ({"top": 4}, DataError, "have no score"),
    ({"top": 0}, UsageError, "--top 0: the number of candidates of a query, from 1"),
    ({"split": "val"}, UsageError, "a run of split test, not val"),
    ({"task": "coco_rerank"}, UsageError, "a run of flickr30k_retrieval; coco_rerank re-ranks runs of coco_retrieval"),
    ({"task": "flickr30k_retrieval"}, UsageError, "--candidates and --top are of a re-ranking task"),
])  # fmt: skip
def test_file_of_scores_that_does_not_fit_the_first_run_is_refused(
    base: Any, out: Path, tmp_path: Path, changes: dict[str, Any], error: type[HarnessError], message: str
) -> None:
    second(out, base, top=3, export=tmp_path, name="that does not fit")
    given = {"task": "flickr30k_rerank", "candidates": base, "top": 3, "data": "miniature", "out": out, **changes}
    with pytest.raises(error, match=message):
        score(predictions=tmp_path / "flickr30k_rerank_test.npz", **given)


@pytest.mark.parametrize(("changes", "message"), [
    ({"candidates": None}, "flickr30k_rerank needs --candidates RUN, a finished run of flickr30k_retrieval"),
    ({"candidates": "zz"}, "no run has the id or folder 'zz'"),
    ({"task": "coco_rerank"}, "a run of flickr30k_retrieval; coco_rerank re-ranks runs of coco_retrieval"),
    ({"task": "flickr30k_retrieval"}, "--candidates is of one split of one re-ranking task"),
    ({"split": "val"}, "a run of split test, not val; --split test re-ranks it"),
    ({"limit": None}, "a partial run; its re-ranking is as partial: --limit 8 --seed 0"),
    ({"limit": 8, "seed": 1}, "its re-ranking is as partial: --limit 8 --seed 0"),
    ({"top": 0}, "--top 0: the number of candidates of a query, from 1"),
    ({"candidates": None, "top": 3}, "--top 3: the number of candidates of a query, from 1, with --candidates RUN"),
])  # fmt: skip
def test_first_run_that_does_not_fit_is_refused(base: Any, out: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        second(out, **{"candidates": base, **changes})


def test_unfinished_first_run_is_refused(base: Any, tmp_path: Path) -> None:
    again = first(tmp_path)
    folder, record = store.find(tmp_path, again.id)
    folder.write_run(replace(record, status="incomplete", metrics={}))
    with pytest.raises(UsageError, match="the run is incomplete; its own command finishes it"):
        second(tmp_path, again)


def test_first_run_of_other_annotations_is_refused(base: Any, tmp_path: Path) -> None:
    again = first(tmp_path)
    folder, record = store.find(tmp_path, again.id)
    folder.write_run(replace(record, spec=replace(record.spec, data_hash="0" * 64)))
    with pytest.raises(DataError, match="is of other annotations"):
        second(tmp_path, folder.path.as_posix())


def test_first_run_that_is_gone_is_named(base: Any, tmp_path: Path) -> None:
    run = second(tmp_path, first(tmp_path), top=3)
    folder, _ = store.find(tmp_path, base.id)
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=f"run {run.id} re-ranks run {base.id}, which is not in {folder.path}"):
        score_again(run.id, out=tmp_path)


@pytest.mark.parametrize("named", [None, 5, {"run": "x"}, {"run": "x", "folder": 1, "top": 3}])
def test_damaged_name_of_the_first_run_is_a_data_error(named: Any, tmp_path: Path) -> None:
    run = second(tmp_path, first(tmp_path), top=2)
    folder, record = store.find(tmp_path, run.id)
    folder.write_run(replace(record, provenance={**record.provenance, "candidates": named}))
    with pytest.raises(HarnessError):
        score_again(run.id, out=tmp_path)


def test_all_tasks_leave_re_ranking_out(miniature: Path, tmp_path: Path) -> None:
    request = Request(task="flickr30k_re*", model=Embeds(), data="miniature", out=tmp_path, limit=2)
    assert [evaluated.run.spec.task for evaluated in evaluate_each(request)] == ["flickr30k_retrieval"]


def test_limit_of_the_second_run_alone_keeps_the_whole_gallery(miniature: Path, tmp_path: Path) -> None:
    """Queries of 2 images: 2 + 10, each with its candidates among all 60 images or 300 captions."""
    whole = evaluate("flickr30k_retrieval", Embeds(), data="miniature", out=tmp_path)
    run = second(tmp_path, whole, top=70, limit=2)
    assert run.counts["samples"] == 2 * 70 + 10 * 60 and run.counts["image queries"] == 2


def test_report_reads_a_re_ranking_run(tmp_path: Path) -> None:
    run = second(tmp_path, first(tmp_path), top=3)
    assert main(["report", "--results", str(tmp_path), "--to", str(tmp_path / "page")]) == 0
    assert run.spec.model == "Embeds+Matches" and "Embeds+Matches" in (tmp_path / "page/index.html").read_text()
