"""Comparisons of two runs versus enumeration, arithmetic in comments, and scipy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, permutation_test

import tasks
from harness import comparison, runner
from harness.comparison import Side, holm, minimum_detectable, permuted
from harness.core import Answer, Biased, Fixed, Question, Row, Run, Sample, Score, Text, Trail, Variant
from harness.errors import DataError
from harness.metrics import captions
from harness.metrics.reduce import between_runs, mean
from harness.statistics import Difference, paired, resample_weights
from harness.store import SCHEMA
from tests import toy
from tests.toy import Counting, go

Call = Callable[..., tuple[int, str, str]]


def ran(tmp_path: Path, name: str, wrong: Sequence[int] = (), **more: Any) -> Side:
    """A finished run of the toy task that answers the `wrong` samples wrongly."""
    model = Counting(wrong=wrong)
    run = go(tmp_path / name, model, **more)
    task = toy.task()
    samples = runner.choose(list(task.load(toy.Source(tmp_path, "val"))), run.spec.limit, run.spec.seed)
    kept = runner.kept_answers(samples, toy.folder(tmp_path / name, run.spec), "counting")
    return Side(run, samples, kept)


def compare(a: Side, b: Side) -> comparison.Comparison:
    return comparison.compare(toy.task(), a, b, partial(runner.mark, toy.task()))


def test_compare_counts_metrics_and_changes_in_both_directions(tmp_path: Path) -> None:
    """60 samples.  A is wrong in 6 and B in 4, one of them in common: +2 of 60, 5 better, 3 worse."""
    a, b = ran(tmp_path, "a", (0, 1, 2, 10, 20, 30)), ran(tmp_path, "b", (30, 40, 41, 50))
    result = compare(a, b)
    accuracy = result.metrics["accuracy"]
    assert (result.samples, result.images, result.left_out) == (60, 20, 0)
    assert accuracy.a == pytest.approx(90) and accuracy.b == pytest.approx(100 * 56 / 60)
    assert accuracy.difference.value == pytest.approx(100 * 2 / 60)
    assert [change.a.sample.id for change in result.better] == ["0", "1", "10", "2", "20"]
    assert [change.a.sample.id for change in result.worse] == ["40", "41", "50"]
    assert result.other == 8
    assert accuracy.test.startswith("permutation")
    assert 0.3 < (accuracy.difference.p or 0) < 1


def test_compare_run_with_itself_finds_no_difference(tmp_path: Path) -> None:
    a = ran(tmp_path, "a", (1, 2))
    result = compare(a, a)
    assert not result.worse and not result.better
    assert result.parted == "an unknown stage: the record of counting and of counting does not describe the model"
    assert result.metrics["accuracy"].smallest is None  # an interval without width
    assert result.metrics["accuracy"].difference == Difference(0.0, 0.0, 0.0, 1.0, 60, 1000)


def test_compare_limited_run_uses_the_samples_of_both(tmp_path: Path) -> None:
    whole, part = ran(tmp_path, "a", (0,)), ran(tmp_path, "b", (0,), limit=5)
    found = compare(whole, part)
    assert (found.samples, found.images, found.left_out) == (15, 5, 45)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"task": "other"}, "differ in task "), ({"version": 2}, "differ in task version .*`score RUN` scores"),
        ({"data_hash": "1"}, "differ in annotations"), ({"split": "test"}, "differ in split"),
        ({"data": "others"}, "differ in data"),
    ],
)  # fmt: skip
def test_compare_runs_of_different_data_raises(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    a = ran(tmp_path, "a")
    b = replace(a, run=replace(a.run, spec=replace(a.run.spec, **changes)))
    with pytest.raises(DataError, match=complaint):
        compare(a, b)


def test_compare_unfinished_or_disjoint_runs_raises(tmp_path: Path) -> None:
    a = ran(tmp_path, "a")
    with pytest.raises(DataError, match="is incomplete, so it has no result"):
        compare(a, replace(a, run=replace(a.run, status="incomplete")))
    with pytest.raises(DataError, match="no sample in common"):
        compare(replace(a, samples=a.samples[:6]), replace(a, samples=a.samples[6:]))
    changed = [replace(sample, cluster="elsewhere") for sample in a.samples]
    with pytest.raises(DataError, match="sample 0 is not the same in both"):
        compare(a, replace(a, samples=changed))
    unpublished = replace(a, samples=[replace(sample, target=None) for sample in a.samples])
    with pytest.raises(DataError, match="targets of toy val are not published"):
        compare(unpublished, unpublished)


def test_permuted_equals_enumeration_and_scipy() -> None:
    """Nine images of one to three samples can be exchanged in 512 ways."""
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(9), [1, 2, 3] * 3)
    differences = draw.normal(0.4, 1, len(clusters))
    sums = np.bincount(clusters, differences)
    ways = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.array(ways) >= abs(sums.sum()) - 1e-9)
    of_scipy = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert of_scipy == pytest.approx(exact)
    assert permuted(list(differences), list(clusters), seed=1) == pytest.approx(exact, abs=0.02)
    assert permuted([0.0] * 5, [0, 0, 1, 2, 3], seed=1) == 1.0


def test_permuted_of_equivalent_runs_has_the_nominal_level() -> None:
    """300 pairs of equivalent runs: 5 % of p-values are below 0.05, with a standard error of 1.3 %."""
    draw = np.random.default_rng(1)
    values = [permuted(list(draw.normal(0, 1, 40)), [place // 2 for place in range(40)], seed=2) for _ in range(300)]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.09


def test_holm_equals_arithmetic() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1; then 0.03 x 3 = 0.09, and 0.04 x 2 = 0.08 is raised to 0.09."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.03, 0.04, 0.9]) == pytest.approx([0.09, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_minimum_detectable_has_a_power_of_80_percent() -> None:
    """A normal estimate with standard error 1 and true difference 2.8 exceeds 1.96 with a probability of 80 %."""
    assert minimum_detectable(Difference(0.0, -1.96, 1.96, 0.5, 100)) == pytest.approx(2.8)
    assert norm.sf(1.96 - 2.8) == pytest.approx(0.8, abs=0.001)
    assert minimum_detectable(Difference(1.0, None, None, None, 1)) is None


def test_divergence_is_the_first_stage_with_different_digests(tmp_path: Path) -> None:
    def traced(side: Side, **changes: dict[str, str]) -> Side:
        """The side with equal trails, but for the changes under "of_<sample id>"."""
        trail = Trail("p", "x", "i", "o")
        answers = {
            name: replace(answer, trail=trail._replace(**changes.get(f"of_{name}", {})))
            for name, answer in side.answers.items()
        }
        return replace(side, answers=answers)

    a, b = traced(ran(tmp_path, "a")), ran(tmp_path, "b", (3,))
    assert compare(a, traced(a)).parted == "nowhere: all answers are equal"
    assert compare(a, traced(b)).parted.startswith("parsing: 1 answers have equal tokens")
    out = {"of_3": {"tokens_out": "q"}, "of_5": {"tokens_out": "q"}}
    expected = "tokens out: 2 of 60 samples differ; equal before: images, prompt, pixels, tokens in"
    assert compare(a, traced(b, **out)).parted == expected
    into = {**out, "of_5": {"tokens_in": "j", "tokens_out": "q"}}
    expected = "tokens in: 1 of 60 samples differ; equal before: images, prompt, pixels"
    assert compare(a, traced(b, **into)).parted == expected
    pixels = {**into, "of_7": {"pixels": "y"}}
    assert compare(a, traced(b, **pixels)).parted == "pixels: 1 of 60 samples differ; equal before: images, prompt"
    prompt = {**pixels, "of_9": {"prompt": "r"}}
    assert compare(a, traced(b, **prompt)).parted == "prompt: 1 of 60 samples differ; equal before: images"
    assert compare(a, b).parted.startswith("an unknown stage")  # answers of B without trails


def test_divergence_without_digests_is_the_first_stage_with_different_records(tmp_path: Path) -> None:
    a, b = ran(tmp_path, "a"), ran(tmp_path, "b", (3,))
    model = {
        "prompts": {"vqa": "x", "refer": "x"}, "input": "64x64", "weights sha256": "1", "precision": "float32",
        "decoding": "greedy", "device": "cpu",
    }  # fmt: skip

    def recorded(side: Side, fingerprint: str = "counting", **changes: Any) -> Side:
        spec = replace(side.run.spec, fingerprint=fingerprint)
        return replace(side, run=replace(side.run, spec=spec, provenance={"model": {**model, **changes}}))

    first = recorded(a)
    result = compare(first, recorded(b, **{"weights sha256": "2", "device": "cuda"}))
    assert result.parted == "weights: different weights sha256"
    assert result.settings == {"model: weights sha256": ("1", "2"), "model: device": ("cpu", "cuda")}
    reworded = recorded(b, prompts={"vqa": "y", "refer": "x"}, **{"weights sha256": "2"})
    assert compare(first, reworded).parted == "prompt: different prompts: vqa"
    other_kind = recorded(b, prompts={"vqa": "x", "refer": "y"})  # the samples have no `refer` questions
    assert compare(first, other_kind).parted.startswith("tokens: 1 answers differ; equal before: images, prompts")
    assert compare(first, recorded(b, "other code")).parted.startswith("the code, or a setting, of the model")
    assert compare(first, recorded(a)).parted == "nowhere: all answers are equal"
    images = {sample.id: "aa" for sample in a.samples}
    result = compare(replace(first, images=images), replace(recorded(b), images={**images, "7": "bb"}))
    assert result.parted == "data: 1 samples have another image of the same name"


def test_compare_scores_captions_over_the_samples_of_both(miniature: Path) -> None:
    """CIDEr weights words by their rarity among the samples, so equal answers must be scored on equal samples."""
    [task] = tasks.select("coco_caption")
    samples = list(task.load(toy.Source(miniature, "val")))[:40]
    answers = {
        sample.id: Answer((sample.target.texts[0],), Text(sample.target.texts[:1]))
        for sample in samples if sample.target is not None
    }  # fmt: skip
    spec = replace(toy.spec(toy.task()), task=task.name, version=task.version)
    run = Run(schema=SCHEMA, id="x", spec=spec, status="complete", headline=task.headline)
    result = comparison.compare(
        task, Side(run, samples, answers), Side(run, samples[:12], answers), partial(runner.mark, task)
    )
    assert not result.worse and not result.better
    assert result.metrics["CIDEr"].difference.value == 0


def test_paired_cider_equals_scoring_each_resample_as_a_benchmark(miniature: Path) -> None:
    """An image that is drawn twice counts as two images."""
    [task] = tasks.select("coco_caption")
    samples = list(task.load(toy.Source(miniature, "val")))[:15]
    references = [sample.target.texts for sample in samples if sample.target is not None]
    written = [[texts[0] for texts in references], [" ".join(texts[-1].split()[:5]) for texts in references]]
    rows = [
        [Row(sample, Answer((text,), Text((text,))), Score({})) for sample, text in zip(samples, texts, strict=True)]
        for texts in written
    ]

    def cider(run: int, images: np.ndarray) -> float:
        return 100 * captions.mark([written[run][i] for i in images], [references[i] for i in images]).cider.mean()

    drawn = [np.repeat(np.arange(15), weights) for weights in resample_weights((15,), 30, 4)]
    value, *plain = [cider(1, images) - cider(0, images) for images in [np.arange(15), *drawn]]
    got = paired(between_runs(task.metrics["CIDEr"]), rows[0], rows[1], 4, resamples=30)
    assert got.value == pytest.approx(value) and abs(got.value) > 1
    reflected = [2 * value - difference for difference in plain]  # the basic bootstrap
    assert (got.low, got.high) == pytest.approx(np.percentile(reflected, [2.5, 97.5]).tolist())


def test_paired_fixed_metric_has_no_interval() -> None:
    class Constant:
        def __init__(self, value: float) -> None:
            self.value = value

        def prepare(self, rows: Sequence[Row[Any]]) -> Fixed:
            return Fixed(len(rows[0].answer.raw) * self.value)

    samples = [Sample(str(n), Question(f"{n}.png", None, "vqa", ""), Text(("x",)), f"{n}.png") for n in range(5)]
    rows = [[Row(sample, Answer(raw, None), Score({"x": 0.0})) for sample in samples] for raw in (("a",), ("a", "b"))]
    assert paired(Constant(3.0), *rows, 0) == Difference(3.0, None, None, None, 5)


def test_paired_biased_metric_subtracts_the_bias() -> None:
    """A metric that is biased by 5 for one of the runs: it gains 5 if an image is drawn twice."""

    class BiasedMetric:
        def prepare(self, rows: Sequence[Row[Any]]) -> Biased:
            values = np.array([row.score.values["x"] for row in rows])
            bias = 5.0 if values.max() > 1 else 0.0
            return Biased(lambda weights: float(weights @ values / weights.sum() + bias * (weights.max() > 1)))

    draw = np.random.default_rng(0)
    samples = [Sample(str(n), Question(f"{n}.png", None, "vqa", ""), Text(("x",)), f"{n}.png") for n in range(50)]
    low = [Row(sample, Answer(("",), None), Score({"x": float(draw.random())})) for sample in samples]
    high = [replace(row, score=Score({"x": row.score.values["x"] + 2 + float(draw.random())})) for row in low]
    got = paired(BiasedMetric(), low, high, 0)
    assert got.low is not None and got.high is not None
    # The difference is about 2.5 and its resamples are about 7.5; reflected about 2.5, they are about -2.5.
    assert got.value == pytest.approx(2.5, abs=0.2)
    assert got.high < 0


def test_numbers_of_groups_and_kept_scores_are_compared(tmp_path: Path) -> None:
    """A is wrong in one of three `odd` samples: 200 / 3.  Stored scores of a variant are 0.25 for A and 0.5 for B."""
    a, b = ran(tmp_path, "a", (1, 2)), ran(tmp_path, "b")

    def grouped(side: Side, score: float) -> Side:
        samples = [replace(sample, groups=("odd",) if int(sample.id) in (1, 3, 5) else ()) for sample in side.samples]
        return replace(side, samples=samples, scores={sample.id: Score({"more": score}) for sample in samples})

    extra: Variant[Text] = Variant(lambda task: task, {"MORE": mean("more")})
    task = replace(toy.task(), by_group={"accuracy": mean("right")}, variants={"extra": extra})
    result = comparison.compare(task, grouped(a, 0.25), grouped(b, 0.5), partial(runner.mark, task))
    metrics = result.metrics
    assert list(metrics) == ["accuracy", "MORE", "unreadable", "truncated", "accuracy odd"]
    odd, more = metrics["accuracy odd"], metrics["MORE"]
    assert (odd.a, odd.b, odd.difference.n) == (pytest.approx(200 / 3), 100.0, 3)
    assert (more.a, more.b) == (25.0, 50.0)
    assert result.scored_by == "right"  # the task's own score stays first
