"""Targets of training scenes with fewer bins, and with the objects in another order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from harness.core import Boxes, Grounded, Kind, Polygons, Quads, Question, Sample, Size, Text
from harness.errors import UsageError
from harness.florence2.locations import to_bin
from harness.training.targets import Changed, Targets

SIZE = Size(200, 100)
BOXES = Boxes(((0.0, 0.0, 20.0, 10.0), (50.0, 50.0, 151.0, 99.9), (10.0, 10.0, 60.0, 30.0)), ("a", "b", "c"))


def sample(target: Any, kind: Kind = "detect", name: str = "scene 1") -> Sample[Any]:
    return Sample("s", Question(name, SIZE, kind), target, name)


def test_default_changes_nothing() -> None:
    given = sample(BOXES)
    assert Targets()(given) is given
    text = sample(Text(("one",)), "caption")
    assert Targets(bins=100, order="size")(text) is text


def test_coordinates_with_a_hundred_bins_are_at_their_centres() -> None:
    """A bin is 2 pixels wide and 1 pixel high: 151 is in bin 75, from 150 to 152; 99.9 in the last, from 99 to 100."""
    assert Targets(bins=100)(sample(BOXES, "find")).target.boxes[1] == (51.0, 50.5, 151.0, 99.5)
    shapes = (
        (Grounded((((0.0, 0.0, 200.0, 100.0),), ())), Grounded((((1.0, 0.5, 199.0, 99.5),), ()))),
        (Polygons((((3.0, 3.2), (7.9, 8.0)),)), Polygons((((3.0, 3.5), (7.0, 8.5)),))),
        (Quads((((0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0)),), ("x",)),
         Quads((((1.0, 0.5), (5.0, 0.5), (5.0, 2.5), (1.0, 2.5)),), ("x",))),
    )  # fmt: skip
    for given, expected in shapes:
        assert Targets(bins=100)(sample(given, "ground")).target == expected


def test_hundred_bins_use_every_tenth_location_token() -> None:
    seen = {to_bin(Targets(bins=100)(sample(Boxes(((x / 7, 0.0, 200.0, 100.0),)))).target.boxes[0][0], 200)
            for x in range(1400)}  # fmt: skip
    assert seen == set(range(5, 1000, 10))


def test_order_by_size_has_the_largest_first_with_its_label() -> None:
    """Areas: 200, 101 x 49.9 = 5,040, 1,000."""
    assert Targets(order="size")(sample(BOXES)).target.labels == ("b", "c", "a")
    assert Targets(order="size")(sample(BOXES, "find")).target is BOXES  # a question names these in its own order


def test_random_order_is_that_of_the_scene() -> None:
    orders = [Targets(order="random")(sample(BOXES, name=f"scene {n}")).target.labels for n in range(60)]
    assert orders == [Targets(order="random")(sample(BOXES, name=f"scene {n}")).target.labels for n in range(60)]
    assert len(set(orders)) == 6  # all permutations of three


def test_changed_source_has_changed_samples() -> None:
    @dataclass(frozen=True)
    class Scene:
        image: int
        samples: tuple[Sample[Any], ...]
        things: tuple[()] = ()

    def source(seed: int) -> Any:
        return Scene(seed, (sample(BOXES), sample(Text(("one",)), "caption")))

    scene = Changed(source, Targets(order="size"))(3)
    assert scene.image == 3
    assert scene.samples == (replace(sample(BOXES), target=Targets(order="size")(sample(BOXES)).target),
                             sample(Text(("one",)), "caption"))  # fmt: skip


@pytest.mark.parametrize("bins", [0, 300, 2000])
def test_bins_that_do_not_divide_a_thousand_are_refused(bins: int) -> None:
    with pytest.raises(UsageError, match=f"bins={bins}: a divisor of 1000"):
        Targets(bins=bins)
