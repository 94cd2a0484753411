"""The examples of a question: a function of the question, the seed and the pool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from baselines.examples import Examples, answers
from harness.core import Kind, Question, Sample, Text


def sample(number: int, kind: Kind = "vqa", *texts: str) -> Sample[Text]:
    return Sample(str(number), Question(f"{number}.png", None, kind, text="what?"), Text(texts or ("yes",)), "")


def examples(*pool: Sample[Text], count: int = 4, seed: int = 0) -> Examples:
    return Examples(pool=pool, count=count, seed=seed, root=Path(), identity="")


POOL = examples(*map(sample, range(50)))
QUESTIONS = [Question(f"{number}.jpg", None, "vqa", text=text) for number in range(30) for text in ("a?", "b?")]


def drawn(pool: Examples, question: Question) -> list[str]:
    return [example.question.image_name for example in pool.of(question)]


def test_examples_of_a_question_are_the_same_in_every_order() -> None:
    forwards = [drawn(POOL, question) for question in QUESTIONS]
    assert [drawn(POOL, question) for question in reversed(QUESTIONS)] == forwards[::-1]
    sized = [replace(question, image=question.image_name, size=None) for question in QUESTIONS]
    assert [drawn(POOL, question) for question in sized] == forwards


def test_examples_differ_between_questions_and_seeds() -> None:
    every = [drawn(POOL, question) for question in QUESTIONS]
    assert len({tuple(names) for names in every}) == len(QUESTIONS)
    other = replace(POOL, seed=1)
    assert all(drawn(other, question) != names for question, names in zip(QUESTIONS, every, strict=True))


def test_examples_of_one_question_are_different_samples() -> None:
    assert all(len(set(drawn(POOL, question))) == 4 for question in QUESTIONS)
    whole = replace(POOL, count=50)
    assert set(drawn(whole, QUESTIONS[0])) == {f"{number}.png" for number in range(50)}


def test_every_sample_of_the_pool_is_drawn_about_as_often() -> None:
    """4 of 50 for 2,000 questions: 160 each; the standard deviation is (2000 * 0.08 * 0.92) ** 0.5 = 12.1."""
    counts = dict.fromkeys((f"{number}.png" for number in range(50)), 0)
    for number in range(2000):
        for name in drawn(POOL, Question(f"{number}.jpg", None, "caption")):
            counts[name] += 1
    assert all(abs(count - 160) < 5 * 12.1 for count in counts.values())


@pytest.mark.parametrize(("texts", "answer"), [
    (("no", "yes", "yes", "no", "no"), "no"),
    (("two", "2", "2", "two"), "two"),  # the first one among equals, as m4's Counter.most_common
    (("", " \n", "b"), "b"),
    ((" a \n b ", "a b", "c", "c", "a  b"), "a b"),
])  # fmt: skip
def test_answer_of_an_example_is_the_most_frequent_one(texts: tuple[str, ...], answer: str) -> None:
    [example] = examples(sample(0, "vqa", *texts), count=1).of(QUESTIONS[0])
    assert example.answer == answer


def test_caption_of_an_example_is_one_of_its_captions_at_random() -> None:
    captions = ("a cat.", "the cat\n", "one  cat")
    pool = examples(sample(0, "caption", *captions), count=1)
    told = {pool.of(Question(f"{number}.jpg", None, "caption"))[0].answer for number in range(50)}
    assert told == {"a cat.", "the cat", "one cat"}


def test_sample_without_a_target_has_no_answers() -> None:
    assert answers(replace(sample(0), target=None)) == []
    assert answers(replace(sample(0), target=Text(("", "\t")))) == []
