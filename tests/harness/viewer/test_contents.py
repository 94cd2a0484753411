"""The chunks by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.viewer import contents
from tests.harness.viewer.viewed import library, picture, shown_of


def test_every_name_of_the_pages_on_disk_has_its_payload(tmp_path: Path) -> None:
    runs = library([shown_of("alpha", picture(tmp_path)), shown_of("be", tmp_path)])
    names = list(contents.names(runs))
    assert names[:5] == ["overview", "speed", "studies", "tables", "engine"]
    assert {"index/id-be/0", "details/id-be/0", "charts/id-be"} <= set(names)
    assert [name for name in names if name.startswith("pair")] == ["pair/id-alpha/id-be"]
    for name in names:
        assert contents.payload(runs, name, live=False)
    assert contents.payload(runs, "run/id-be", live=False)["record"]["spec"]["model"] == "be"


@pytest.mark.parametrize(
    "name",
    ["", "x", "overview/x", "speed/x", "run", "run/none", "samples/none", "index/id-be", "index/id-be/-1",
     "index/id-be/²", "index/id-be/0/0", "pair/id-be", "pair/id-be/none", "details/id-be/99999999999"],
)  # fmt: skip
def test_name_without_a_chunk_is_a_key_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyError):
        contents.payload(library([shown_of("be", picture(tmp_path))]), name, live=False)
