"""The miniature's files of TextCaps, TextVQA, VizWiz and nocaps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tasks.miniature.shapes import SEEN
from tests.tasks.miniature.scenes import samples_of


def test_nocaps_domains_follow_from_the_words_of_captions(miniature: Path) -> None:
    for sample in samples_of(miniature, "nocaps"):
        text = " ".join(sample.target.texts).lower()
        old, new = (any(name in text for name in names) for names in (SEEN, ("bird", "snowm", "balloon", "ice cream")))
        [domain] = sample.groups
        expected = {"in-domain": (True, False), "near-domain": (True, True), "out-domain": (False, True)}
        assert (old, new) == expected[domain]
        assert len(sample.target.texts) == 10


def test_some_vizwiz_questions_are_unanswerable(miniature: Path) -> None:
    """30 % of 80 questions are 24, with a standard deviation of 4."""
    unanswerable = [s for s in samples_of(miniature, "vizwiz") if "not answerable" in s.groups]
    assert 10 <= len(unanswerable) <= 40
    assert all(Counter(s.target.texts).most_common(1)[0][0] == "unanswerable" for s in unanswerable)


def test_words_of_textvqa_answers_are_in_the_captions_of_the_image(miniature: Path) -> None:
    captions = {s.cluster: " ".join(s.target.texts) for s in samples_of(miniature, "textcaps")}
    for sample in samples_of(miniature, "textvqa"):
        answer = Counter(sample.target.texts).most_common(1)[0][0]
        assert answer.upper() in captions[sample.cluster]
