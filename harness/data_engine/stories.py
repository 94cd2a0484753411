"""What was said about an image and what became of it, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.core import Boxes, Polygons, Quads, Text
from harness.data_engine.records import Annotation, Origin, Record, Verdict
from harness.data_engine.waterfall import name_of


@dataclass(frozen=True, slots=True)
class Reason:
    """An annotation with a verdict of the rule that was asked about; `by` describes what won over it, or is ""."""

    reference: str
    annotation: str
    origin: str
    verdict: Verdict
    by: str


def described(annotation: Annotation) -> str:
    """An annotation in a few words: "region cat (1, 2, 30, 40)"."""
    value = annotation.value
    length = annotation.length.replace("_", " ")
    what = f"{length} {annotation.kind}".strip()
    if isinstance(value, Text):
        return f"{what} {_short(value.texts[0])!r}"
    if isinstance(value, Boxes):
        corners = ", ".join(f"{number:.0f}" for number in value.boxes[0]) if value.boxes else ""
        more = f" and {len(value.boxes) - 1} more" if len(value.boxes) > 1 else ""
        label = f" {_short(value.labels[0])}" if value.labels else ""
        return f"{what}{label} ({corners}){more}"
    if isinstance(value, Quads):
        return f"{what} {_short(''.join(value.labels))!r}"
    if isinstance(value, Polygons):
        return f"{what} of {sum(map(len, value.rings))} points"
    return what


def story(record: Record, origins: Mapping[str, Origin]) -> Iterator[str]:
    """Everything about an image: each annotation, who made it, what was measured, and every verdict in order."""
    size = record.image.size
    yield f"{record.image.reference}: {size.width} x {size.height} pixels, {len(record.annotations)} annotations"
    status = record.status()
    names = {each.id: described(each) for each in record.annotations}
    for each in record.annotations:
        verdict = status.get(each.id)
        score = "" if each.score is None else f", score {each.score:.3f}"
        holds = verdict.status if verdict else "kept"
        yield f"{holds}: {names[each.id]}, by {name_of(origins.get(each.origin))}{score}"
        measures = record.measures.get(each.id, {})
        if measures:
            yield "    measured " + ", ".join(f"{name} {number:.4g}" for name, number in sorted(measures.items()))
        for decided in record.verdicts:
            if decided.annotation == each.id:
                yield f"    {decided.status} by {decided.stage}{numbers(decided)}{_won(decided, names)}"


def numbers(verdict: Verdict) -> str:
    """The numbers that a verdict compared: ": 0.31 against 0.4"; "" without any."""
    if verdict.measured is None:
        return ""
    return f": {verdict.measured:.4g}" + ("" if verdict.bound is None else f" against {verdict.bound:.4g}")


def reasons(records: Iterable[Record], origins: Mapping[str, Origin], rule: str) -> Iterator[Reason]:
    """Every annotation on which a verdict of this rule, or of a rule of this stage, holds."""
    for record in records:
        names = {each.id: each for each in record.annotations}
        for id_, verdict in record.status().items():
            if id_ in names and (verdict.stage == rule or verdict.stage.startswith(f"{rule}.")):
                by = names.get(verdict.by or "")
                yield Reason(
                    record.image.reference,
                    described(names[id_]),
                    name_of(origins.get(names[id_].origin)),
                    verdict,
                    described(by) if by is not None else "",
                )


def _won(verdict: Verdict, names: Mapping[str, str]) -> str:
    return f", for {names.get(verdict.by, 'what is not there')}" if verdict.by is not None else ""


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
