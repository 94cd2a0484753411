"""Captions, questions and answers about a scene, against plain checks of the scene."""

from __future__ import annotations

from collections import Counter

from tasks.miniature import telling
from tasks.miniature.language import appearances, caption, counted
from tasks.miniature.render import rendered_scene, rendered_signs
from tasks.miniature.scene import Draw
from tasks.miniature.telling import (
    Query,
    detailed,
    more_detailed,
    noisy,
    queries,
    reading,
    references,
    spaced,
    unanswerable,
    words,
)

SCENES = [rendered_scene(seed) for seed in range(20)]


def test_questions_have_the_right_answer() -> None:
    for seed, rendered in enumerate(SCENES):
        things = appearances(rendered)
        names = [thing.category for thing in things]
        phrases = {counted(1, thing.colour, thing.category) for thing in things}
        for query in queries(rendered, Draw(seed)):
            text = query.question
            if text.startswith("Is there a ") and text.endswith(" in the picture?"):
                category = text.removeprefix("Is there a ").removesuffix(" in the picture?")
                assert query.answer == ("yes" if category in names else "no")
            elif text.startswith("Is there "):
                assert query.answer == ("yes" if text.removeprefix("Is there ").rstrip("?") in phrases else "no")
            elif text == "How many things are there?":
                assert query.answer == str(len(things))
            elif text.startswith("What color is the "):
                category = text.removeprefix("What color is the ").rstrip("?")
                assert [thing.colour for thing in things if thing.category == category] == [query.answer]
            elif text == "What is on the left?":
                assert query.answer == min(things, key=lambda thing: thing.x).category


def test_unanswerable_question_is_about_a_missing_category() -> None:
    for seed, rendered in enumerate(SCENES):
        query = unanswerable(rendered, Draw(seed))
        assert (query.answer, query.answer_type) == ("unanswerable", "unanswerable")
        category = query.question.removeprefix("What color is the ").rstrip("?")
        assert category not in {thing.category for thing in rendered.scene.things}


def test_careless_answers_are_about_fifteen_percent() -> None:
    """Of 2000 answers 300 are careless, and a third of the random ones are right by chance.

    So 85 % + 7.5 % / 3 = 87.5 % are right, with a standard deviation of 0.7 %.
    """
    query = Query("?", "yes", "yes/no", "is there")
    answers = [answer for seed in range(200) for answer in noisy(query, Draw(seed))]
    assert len(answers) == 10 * 200
    assert 0.85 < answers.count("yes") / len(answers) < 0.90
    assert set(answers) == {"yes", "yes.", "Yes", "the yes", "no", "maybe"}


def test_longer_captions_name_more() -> None:
    for rendered in SCENES:
        count = len(rendered.scene.things)
        assert detailed(rendered).count("a big ") + detailed(rendered).count("a small ") == count
        paragraph = more_detailed(rendered)
        assert paragraph.count(".") == 1 + count  # one sentence with the count, and one for each thing
        assert paragraph.count("to the right of") == count - 1


def test_references_are_five_with_the_place_in_the_last() -> None:
    for seed, rendered in enumerate(SCENES):
        texts = references(rendered, Draw(seed))
        assert len(texts) == 5
        assert telling.SETTINGS[rendered.scene.background] in texts[4]


def test_spaced_caption_keeps_its_phrases() -> None:
    for seed, rendered in enumerate(SCENES):
        text, spans = caption(rendered, Draw(seed))
        other, moved = spaced(text, spans)
        assert other == text.replace(",", " ,") + " ."
        assert [other[start:end] for start, end, _ in moved] == [text[start:end] for start, end, _ in spans]


def test_words_on_signs_are_asked_for_and_placed() -> None:
    for seed in range(10):
        rendered = rendered_signs(seed)
        signs = [thing for thing in rendered.scene.things if thing.word]
        assert Counter(query.answer.upper() for query in reading(rendered)) == Counter(sign.word for sign in signs)
        assert [word for word, _ in words(rendered)] == [s.word for s in sorted(signs, key=lambda sign: sign.y)]
        assert all(f"sign says {sign.word}" in more_detailed(rendered) for sign in signs)
