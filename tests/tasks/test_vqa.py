"""VQA tasks: accuracy by data set and type, and VizWiz's second task, against general definitions.

`tests/harness/metrics/test_answers.py` tests the accuracies themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.core import Answer, Question, Row, Sample, Text
from harness.runner import mark, reduce
from harness.statistics import estimate
from tasks import TASKS
from tasks.vqa import Unanswerable, declines

TEN = ("red",) * 4 + ("blue",) * 3 + ("Green", "the green", "green.")


def sample(name: str, truths: tuple[str, ...] = TEN, groups: tuple[str, ...] = ()) -> Sample[Text]:
    return Sample(name, Question(f"{name}.jpg", None, "vqa", "?"), Text(truths), name, groups)


@pytest.mark.parametrize(("task", "answer", "expected"), [
    ("vqav2", "Red", 1.0),  # four people
    ("vqav2", "a blue", 0.9),  # three people: seven times 3/3, three times 2/3
    ("vqav2", "green", 0.9),  # three truths have this normal form
    ("textvqa", "green", 0.9),
    ("vizwiz", "green", 0.0),  # truths are not normalised, and none is equal
    ("vizwiz", "Blue.", 0.9),
    ("vqav2", "yellow", 0.0),
])  # fmt: skip
def test_accuracy_is_that_of_the_task_s_evaluator(task: str, answer: str, expected: float) -> None:
    [row] = mark(TASKS[task], [sample("1")], {"1": Answer((answer,), Text((answer,)))})
    assert row.score.values["accuracy"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", ["vqav2", "textvqa", "vizwiz"])
def test_unparsable_answer_scores_zero(task: str) -> None:
    """Even where "" is the normal form of the truths "the" and "?"."""
    truths = ("the",) * 5 + ("?",) * 4 + ("x",)
    [row] = mark(TASKS[task], [sample("1", truths)], {"1": Answer(("<loc_1>",), None)})
    assert (row.score.values["accuracy"], row.score.readable) == (0.0, False)


def test_accuracy_is_reported_by_type() -> None:
    samples = [sample("1", groups=("other", "what")), sample("2", groups=("number", "what"))]
    answers = {"1": Answer(("",), Text(("red",))), "2": Answer(("",), Text(("pink",)))}
    metrics = reduce(TASKS["vqav2"], mark(TASKS["vqav2"], samples, answers), seed=0)
    values = {name: (metric.value, metric.n) for name, metric in metrics.items() if name.startswith("accuracy")}
    assert values == {
        "accuracy": (50.0, 2),
        "accuracy other": (100.0, 1),
        "accuracy number": (0.0, 1),
        "accuracy what": (50.0, 2),
    }


def test_accuracies_are_summed_one_by_one() -> None:
    """The evaluators compute `100 * float(sum(accuracies)) / len(accuracies)`; a rounded tie (73.125) depends on it."""
    truths = [("red",) * count + ("blue",) * (10 - count) for count in (1, 2, 3, 1, 2, 2, 3, 5, 0, 1, 1, 2, 3)]
    samples = [sample(str(place), truths=ten) for place, ten in enumerate(truths)]
    answers = {question.id: Answer(("",), Text(("red",))) for question in samples}
    rows = mark(TASKS["vqav2"], samples, answers)
    accuracies = [row.score.values["accuracy"] for row in rows]
    assert reduce(TASKS["vqav2"], rows, seed=0)["accuracy"].value == 100 * float(sum(accuracies)) / len(accuracies)


def test_declines_only_for_published_wordings() -> None:
    assert [declines(text) for text in ("unanswerable", " Unanswerable. ", "unsuitable", "unanswered", "")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def slow_average_precision(scores: Sequence[float], positive: Sequence[int]) -> float:
    """The mean, over the positive samples, of the precision among all samples with an equal or higher score."""
    precisions = []
    for score, is_positive in zip(scores, positive, strict=True):
        if is_positive:
            above = [other for value, other in zip(scores, positive, strict=True) if value >= score]
            precisions.append(sum(above) / len(above))
    return sum(precisions) / len(precisions) if precisions else 0.0


def slow_f1(guesses: Sequence[int], positive: Sequence[int]) -> float:
    pairs = list(zip(guesses, positive, strict=True))
    right = pairs.count((1, 1))
    if not right:
        return 0.0
    precision, recall = right / sum(guesses), right / sum(positive)
    return 2 * precision * recall / (precision + recall)


def test_general_definitions_by_hand() -> None:
    # scikit-learn's example: recall 1/2 at precision 1 (0.8), then 1 at 2/3 (0.35); 1/2 + 1/3
    assert slow_average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(5 / 6)
    assert slow_average_precision([1, 1, 1, 1], [1, 0, 0, 0]) == 0.25  # equal scores are retrieved together
    assert slow_average_precision([3, 2, 1], [1, 1, 0]) == 1
    assert slow_f1([1, 1, 0, 0], [1, 0, 1, 0]) == 0.5  # precision and recall 1/2
    assert slow_f1([0, 0], [0, 0]) == 0


@pytest.mark.parametrize("predicted", [(1, 1, 0, 0, 1, 0), (0,) * 6, (1,) * 6, (0, 0, 1, 1, 0, 0)])
@pytest.mark.parametrize("true", [(1, 0, 0, 1, 1, 0), (1,) * 6, (0,) * 6])
def test_declining_is_scored_by_the_general_definitions(predicted: tuple[int, ...], true: tuple[int, ...]) -> None:
    rows: list[Row[Text]] = []
    for place, (declined, unanswerable) in enumerate(zip(predicted, true, strict=True)):
        question = sample(str(place), groups=("other", "not answerable" if unanswerable else "answerable"))
        answer = Answer(("",), Text(("unanswerable" if declined else "red",)))
        rows += mark(TASKS["vizwiz"], [question], {question.id: answer})
    for which, value in (
        ("average precision", slow_average_precision(predicted, true)),
        ("F1", slow_f1(predicted, true)),
    ):
        result = estimate(Unanswerable(which), rows, seed=0).value  # type: ignore[arg-type]
        expected = pytest.approx(100 * value, abs=1e-9) if any(true) else None  # undefined without positive samples
        assert result == expected, which
