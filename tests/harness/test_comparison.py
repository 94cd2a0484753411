"""Two runs against each other: against enumeration, arithmetic by hand, and scipy."""

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
from harness.comparison import Side, holm, permuted, smallest
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
    """A finished run of the toy task."""
    model = Counting(wrong=wrong)
    run = go(tmp_path / name, model, **more)
    task = toy.task()
    samples = runner.choose(list(task.load(toy.Source(tmp_path, "val"))), run.spec.limit, run.spec.seed)
    kept = runner.kept_answers(samples, toy.folder(tmp_path / name, run.spec), "counting")
    return Side(run, samples, kept)


def compare(a: Side, b: Side) -> comparison.Comparison:
    return comparison.compare(toy.task(), a, b, partial(runner.mark, toy.task()))


def test_what_changed_is_counted_both_ways(tmp_path: Path) -> None:
    """60 samples; A is wrong in 6, B in 4, of which 1 is the same: +2 of 60, 5 better, 3 worse."""
    a, b = ran(tmp_path, "a", (0, 1, 2, 10, 20, 30)), ran(tmp_path, "b", (30, 40, 41, 50))
    found = compare(a, b)
    one = found.metrics["accuracy"]
    assert (found.samples, found.images, found.left_out) == (60, 20, 0)
    assert one.a == pytest.approx(90) and one.b == pytest.approx(100 * 56 / 60)
    assert one.difference.value == pytest.approx(100 * 2 / 60)
    assert [change.a.sample.id for change in found.better] == ["0", "1", "10", "2", "20"]
    assert [change.a.sample.id for change in found.worse] == ["40", "41", "50"]
    assert found.other == 8
    assert one.test.startswith("permutation")
    assert 0.3 < (one.difference.p or 0) < 1


def test_a_run_against_itself_is_alike(tmp_path: Path) -> None:
    a = ran(tmp_path, "a", (1, 2))
    found = compare(a, a)
    assert not found.worse and not found.better
    assert found.parted == "an unknown stage: how counting or counting came to its answers is not recorded"
    assert found.metrics["accuracy"].smallest is None  # nothing varies, which says nothing of what would be seen
    assert found.metrics["accuracy"].difference == Difference(0.0, 0.0, 0.0, 1.0, 60, 1000)


def test_where_one_was_asked_less_what_both_were_asked_counts(tmp_path: Path) -> None:
    whole, part = ran(tmp_path, "a", (0,)), ran(tmp_path, "b", (0,), limit=5)
    found = compare(whole, part)
    assert (found.samples, found.images, found.left_out) == (15, 5, 45)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"task": "other"}, "not of the same task"), ({"version": 2}, "task version .*`score RUN` marks"),
        ({"data_hash": "1"}, "not of the same annotations"), ({"split": "test"}, "not of the same split"),
        ({"data": "others"}, "not of the same data"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    a = ran(tmp_path, "a")
    b = replace(a, run=replace(a.run, spec=replace(a.run.spec, **changes)))
    with pytest.raises(DataError, match=complaint):
        compare(a, b)


def test_an_unfinished_run_and_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    a = ran(tmp_path, "a")
    with pytest.raises(DataError, match="is incomplete, so it has no result"):
        compare(a, replace(a, run=replace(a.run, status="incomplete")))
    with pytest.raises(DataError, match="no sample in common"):
        compare(replace(a, samples=a.samples[:6]), replace(a, samples=a.samples[6:]))
    moved = [replace(sample, cluster="elsewhere") for sample in a.samples]
    with pytest.raises(DataError, match="sample 0 is not the same in both"):
        compare(a, replace(a, samples=moved))
    kept_back = replace(a, samples=[replace(sample, target=None) for sample in a.samples])
    with pytest.raises(DataError, match="targets of toy val are not published"):
        compare(kept_back, kept_back)


def test_permutations_against_all_of_them_and_scipy() -> None:
    """Nine images of one to three samples: 512 ways to exchange them."""
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(9), [1, 2, 3] * 3)
    differences = draw.normal(0.4, 1, len(clusters))
    sums = np.bincount(clusters, differences)
    ways = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.array(ways) >= abs(sums.sum()) - 1e-9)
    theirs = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert theirs == pytest.approx(exact)
    assert permuted(list(differences), list(clusters), seed=1) == pytest.approx(exact, abs=0.02)
    assert permuted([0.0] * 5, [0, 0, 1, 2, 3], seed=1) == 1.0


def test_permutations_hold_their_level() -> None:
    """Of 300 pairs of runs that are alike, at most a few more than 1 in 20 are told apart."""
    draw = np.random.default_rng(1)
    values = [permuted(list(draw.normal(0, 1, 40)), [place // 2 for place in range(40)], seed=2) for _ in range(300)]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.09


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1; and none below one before it (0.04 x 2 after 0.03 x 3)."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.03, 0.04, 0.9]) == pytest.approx([0.09, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_smallest_that_is_seen_is_seen_four_times_in_five() -> None:
    """A normal estimate with a standard error of 1 and a true difference of 2.8 is beyond 1.96 in 80 of 100 cases."""
    found = smallest(Difference(0.0, -1.96, 1.96, 0.5, 100))
    assert found == pytest.approx(2.8)
    assert norm.sf(1.96 - 2.8) == pytest.approx(0.8, abs=0.001)
    assert smallest(Difference(1.0, None, None, None, 1)) is None


def test_the_first_stage_by_what_was_kept_with_the_answers(tmp_path: Path) -> None:
    def trailed(side: Side, **others: dict[str, str]) -> Side:
        usual = Trail("p", "x", "i", "o")
        answers = {
            name: replace(answer, trail=usual._replace(**others.get(f"of_{name}", {})))
            for name, answer in side.answers.items()
        }
        return replace(side, answers=answers)

    a, b = trailed(ran(tmp_path, "a")), ran(tmp_path, "b", (3,))
    assert compare(a, trailed(a)).parted == "nowhere: every answer is the same"
    assert compare(a, trailed(b)).parted.startswith("reading: 1 answers are of the same tokens")
    out = {"of_3": {"tokens_out": "q"}, "of_5": {"tokens_out": "q"}}
    expected = "tokens out: 2 of 60 samples have others; alike before that: pictures, prompt, pixels, tokens in"
    assert compare(a, trailed(b, **out)).parted == expected
    into = {**out, "of_5": {"tokens_in": "j", "tokens_out": "q"}}
    assert compare(a, trailed(b, **into)).parted.startswith(
        "tokens in: 1 of 60 samples have others; alike before that: pictures, prompt, pixels"
    )
    seen = {**into, "of_7": {"pixels": "y"}}
    assert (
        compare(a, trailed(b, **seen)).parted
        == "pixels: 1 of 60 samples have others; alike before that: pictures, prompt"
    )
    asked = {**seen, "of_9": {"prompt": "r"}}
    assert compare(a, trailed(b, **asked)).parted == "prompt: 1 of 60 samples have others; alike before that: pictures"
    assert compare(a, b).parted.startswith("an unknown stage")  # kept by an earlier version, without


def test_the_first_stage_at_which_they_part(tmp_path: Path) -> None:
    a, b = ran(tmp_path, "a"), ran(tmp_path, "b", (3,))
    way = {
        "prompts": {"vqa": "x", "refer": "x"}, "input": "64x64", "weights sha256": "1", "precision": "float32",
        "decoding": "greedy", "device": "cpu",
    }  # fmt: skip

    def told(side: Side, fingerprint: str = "counting", **changes: Any) -> Side:
        spec = replace(side.run.spec, fingerprint=fingerprint)
        return replace(side, run=replace(side.run, spec=spec, provenance={"model": {**way, **changes}}))

    one = told(a)
    found = compare(one, told(b, **{"weights sha256": "2", "device": "cuda"}))
    assert found.parted == "weights: another weights sha256"
    assert found.settings == {"model: weights sha256": ("1", "2"), "model: device": ("cpu", "cuda")}
    reworded = told(b, prompts={"vqa": "y", "refer": "x"}, **{"weights sha256": "2"})
    assert compare(one, reworded).parted == "prompt: another prompts: vqa"
    elsewhere = told(b, prompts={"vqa": "x", "refer": "y"})  # of a kind that was not asked
    assert compare(one, elsewhere).parted.startswith("tokens: 1 answers are others, though pictures")
    assert compare(one, told(b, "other code")).parted.startswith("the code, or a setting, that answers")
    assert compare(one, told(a)).parted == "nowhere: every answer is the same"
    seen = {sample.id: "aa" for sample in a.samples}
    found = compare(replace(one, images=seen), replace(told(b), images={**seen, "7": "bb"}))
    assert found.parted == "data: 1 samples have another picture, of the same name"


def test_captions_are_marked_among_the_samples_that_both_were_asked(miniature: Path) -> None:
    """CIDEr weighs words by how rare they are among the samples: the same answers differ in nothing."""
    [task] = tasks.select("coco_caption")
    samples = list(task.load(toy.Source(miniature, "val")))[:40]
    answers = {
        sample.id: Answer((sample.target.texts[0],), Text(sample.target.texts[:1]))
        for sample in samples if sample.target is not None
    }  # fmt: skip
    spec = replace(toy.spec(toy.task()), task=task.name, version=task.version)
    run = Run(schema=SCHEMA, id="x", spec=spec, status="complete", headline=task.headline)
    found = comparison.compare(
        task, Side(run, samples, answers), Side(run, samples[:12], answers), partial(runner.mark, task)
    )
    assert not found.worse and not found.better
    assert found.metrics["CIDEr"].difference.value == 0


def test_ciders_difference_is_told_anew_in_each_resample(miniature: Path) -> None:
    """Against marking each resample as a set of its own, in which an image drawn twice is two images."""
    [task] = tasks.select("coco_caption")
    samples = list(task.load(toy.Source(miniature, "val")))[:15]
    wanted = [sample.target.texts for sample in samples if sample.target is not None]
    told = [[texts[0] for texts in wanted], [" ".join(texts[-1].split()[:5]) for texts in wanted]]
    rows = [
        [Row(sample, Answer((text,), Text((text,))), Score({})) for sample, text in zip(samples, texts, strict=True)]
        for texts in told
    ]
    drawn = [np.repeat(np.arange(15), weights) for weights in resample_weights((15,), 30, 4)]
    plain = [
        100 * (captions.mark([told[1][i] for i in one], [wanted[i] for i in one]).cider.mean()
               - captions.mark([told[0][i] for i in one], [wanted[i] for i in one]).cider.mean())
        for one in [np.arange(15), *drawn]
    ]  # fmt: skip
    found = paired(between_runs(task.metrics["CIDEr"]), rows[0], rows[1], 4, resamples=30)
    assert found.value == pytest.approx(plain[0]) and abs(found.value) > 1
    turned = [2 * plain[0] - value for value in plain[1:]]  # what resamples are off the number, taken off it
    assert (found.low, found.high) == pytest.approx(np.percentile(turned, [2.5, 97.5]).tolist())


def test_a_number_that_no_resample_changes_has_no_interval() -> None:
    class Constant:
        def __init__(self, value: float) -> None:
            self.value = value

        def prepare(self, rows: Sequence[Row[Any]]) -> Fixed:
            return Fixed(len(rows[0].answer.raw) * self.value)

    samples = [Sample(str(n), Question(f"{n}.png", None, "vqa", ""), Text(("x",)), f"{n}.png") for n in range(5)]
    rows = [[Row(sample, Answer(raw, None), Score({"x": 0.0})) for sample in samples] for raw in (("a",), ("a", "b"))]
    assert paired(Constant(3.0), *rows, 0) == Difference(3.0, None, None, None, 5)


def test_what_pushes_both_one_way_is_taken_off() -> None:
    """A statistic that gains 5 wherever an image is drawn twice, of one run alone: its resamples are 5 above."""

    class Pushed:
        def prepare(self, rows: Sequence[Row[Any]]) -> Biased:
            values = np.array([row.score.values["x"] for row in rows])
            push = 5.0 if values.max() > 1 else 0.0
            return Biased(lambda weights: float(weights @ values / weights.sum() + push * (weights.max() > 1)))

    draw = np.random.default_rng(0)
    samples = [Sample(str(n), Question(f"{n}.png", None, "vqa", ""), Text(("x",)), f"{n}.png") for n in range(50)]
    low = [Row(sample, Answer(("",), None), Score({"x": float(draw.random())})) for sample in samples]
    high = [replace(row, score=Score({"x": row.score.values["x"] + 2 + float(draw.random())})) for row in low]
    found = paired(Pushed(), low, high, 0)
    assert found.low is not None and found.high is not None
    # The true gain is about 2.5 and resamples are about 7.5: turned about the number, the interval is about -2.5.
    assert found.value == pytest.approx(2.5, abs=0.2)
    assert found.high < 0


def test_numbers_of_groups_and_kept_scores_are_compared(tmp_path: Path) -> None:
    """A is wrong in one of three `odd` samples: 200/3; kept METEOR-like scores of both are averaged by hand."""
    a, b = ran(tmp_path, "a", (1, 2)), ran(tmp_path, "b")

    def grouped(side: Side, worth: float) -> Side:
        samples = [replace(one, groups=("odd",) if int(one.id) in (1, 3, 5) else ()) for one in side.samples]
        return replace(side, samples=samples, scores={one.id: Score({"more": worth}) for one in samples})

    extra: Variant[Text] = Variant(lambda task: task, {"MORE": mean("more")})
    task = replace(toy.task(), by_group={"accuracy": mean("right")}, variants={"extra": extra})
    found = comparison.compare(task, grouped(a, 0.25), grouped(b, 0.5), partial(runner.mark, task)).metrics
    assert list(found) == ["accuracy", "MORE", "unreadable", "truncated", "accuracy odd"]
    odd, more = found["accuracy odd"], found["MORE"]
    assert (odd.a, odd.b, odd.difference.n) == (pytest.approx(200 / 3), 100.0, 3)
    assert (more.a, more.b) == (25.0, 50.0)
