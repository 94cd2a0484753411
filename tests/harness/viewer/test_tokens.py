"""Tokens linked to coordinates.  On 1000 x 500 pixels, bin b has its centre at b + 0.5, and at (b + 0.5) / 2."""

from __future__ import annotations

from harness.core import Size
from harness.viewer.tokens import linked, probable

SIZE = Size(1000, 500)


def box(*points: float) -> dict[str, object]:
    return {"kind": "box", "points": list(points)}


def test_tokens_of_two_boxes_are_linked_with_their_labels() -> None:
    raw = "car<loc_1><loc_2><loc_3><loc_4>dog<loc_5><loc_6><loc_7><loc_8>"
    shapes = [box(1.5, 1.25, 3.5, 2.25), box(5.5, 3.25, 7.5, 4.25)]
    assert linked((raw,), shapes, SIZE) == [[
        ("car", 0, -1), ("<loc_1>", 0, 0), ("<loc_2>", 0, 1), ("<loc_3>", 0, 2), ("<loc_4>", 0, 3),
        ("dog", 1, -1), ("<loc_5>", 1, 0), ("<loc_6>", 1, 1), ("<loc_7>", 1, 2), ("<loc_8>", 1, 3),
    ]]  # fmt: skip


def test_stray_tokens_are_not_linked_and_do_not_shift_the_others() -> None:
    raw = "<loc_9>car<loc_1><loc_2><loc_3><loc_4><loc_9>"
    [pieces] = linked((raw,), [box(1.5, 1.25, 3.5, 2.25)], SIZE)
    assert [piece[1:] for piece in pieces] == [(-1, -1), (0, -1), (0, 0), (0, 1), (0, 2), (0, 3), (-1, -1)]


def test_vertices_of_a_polygon_and_of_its_second_ring_are_linked() -> None:
    rings = [
        {"kind": "ring", "points": [1.5, 0.25, 2.5, 0.25, 2.5, 1.25]},
        {"kind": "ring", "points": [8.5, 4.25, 9.5, 4.25, 9.5, 4.75]},
    ]
    raw = "<loc_1><loc_0><loc_2><loc_0><loc_2><loc_2><sep><loc_8><loc_8><loc_9><loc_8><loc_9><loc_9>"
    [pieces] = linked((raw,), rings, SIZE)
    assert [piece[1:] for piece in pieces[:6]] == [(0, number) for number in range(6)]
    assert pieces[6] == ("<sep>", -1, -1)
    assert [piece[1:] for piece in pieces[7:]] == [(1, number) for number in range(6)]


def test_equal_boxes_of_several_outputs_are_linked_one_by_one() -> None:
    raw = "<loc_1><loc_2><loc_3><loc_4>"
    first, second = linked((raw, raw), [box(1.5, 1.25, 3.5, 2.25)] * 2, SIZE)
    assert {piece[1] for piece in first} == {0} and {piece[1] for piece in second} == {1}


def test_nothing_is_linked_without_a_size_or_location_tokens() -> None:
    shape = box(1.5, 1.25, 3.5, 2.25)
    assert linked(("<loc_1><loc_2>",), [shape], None) == [[("<loc_1>", -1, -1), ("<loc_2>", -1, -1)]]
    assert linked(('{"bbox": [1, 2, 3, 4]}',), [shape], SIZE) == [[('{"bbox": [1, 2, 3, 4]}', -1, -1)]]
    assert linked((), [shape], SIZE) == [] and linked(("",), [], SIZE) == [[]]


def test_log_probabilities_belong_to_the_pieces_of_the_output() -> None:
    raw = linked(("two cars<loc_1><loc_2>",), [], SIZE)
    tokens = [("<s>", 0.0), ("two", -1.0), (" c", -2.0), ("ars", -3.0), ("<loc_1>", -4.0), ("<loc_2>", -5.0)]
    assert probable(raw, [[*tokens, ("</s>", -6.0)]]) == [
        [tokens[1:4], tokens[4:5], tokens[5:6], [("</s>", -6.0)]],
    ]  # fmt: skip
    assert probable(raw, [tokens]) == [[tokens[1:4], tokens[4:5], tokens[5:6], []]]  # cut off, so without an end
    letters = [("", -1.0), ("é", -2.0)]  # two tokens of one letter
    assert probable(linked(("é",), [], SIZE), [letters]) == [[letters, []]]


def test_log_probabilities_of_another_output_are_left_out() -> None:
    raw = linked(("car<loc_1>",), [], SIZE)
    for tokens in (
        [("ca", -1.0)],
        [("car", -1.0)],
        [("car<loc_1>", -1.0)],
        [("car", -1.0), ("<loc_1>", 0.0), ("x", 0.0)],
    ):
        assert probable(raw, [tokens]) == [[]]
    assert probable(raw, ()) == []
