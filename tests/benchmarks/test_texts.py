"""The records of the benchmark of texts: none repeats, and every stage has something to decide."""

from __future__ import annotations

from benchmarks.texts import rate, records
from harness.data_engine.choose import Choice
from harness.data_engine.phrases import Phrases
from harness.data_engine.texts import Texts


def test_records_repeat_no_text_of_an_image_and_pass_the_stages() -> None:
    """Of an image: two texts, two regions with two texts each, and two phrases; the phrase "A" is blacklisted."""
    given = list(records(3))
    said = [each.value for record in given for each in record.annotations if each.kind == "text" and not each.parents]
    assert len(set(said)) == len(said) == 6
    for record in given:
        after = Choice()(Phrases()(Texts()(record)))
        assert len(record.annotations) == 10
        stages = sorted(verdict.stage for verdict in after.verdicts)
        assert stages == ["choice.similarity", "choice.similarity", "phrases.blacklist"]


def test_rate_is_of_processor_time() -> None:
    assert rate(100, lambda: sum(range(100_000))) > 100
