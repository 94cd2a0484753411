"""What a file of promises may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.gates import promises


@pytest.mark.parametrize(("text", "told"), [
    ("", "promises nothing"),
    ("promise = 3", "tables"),
    ("[promise.x", "is no TOML"),
    ("[promise.x]\ntask='a'\nmodel='b'", "either at_least"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nnot_worse_than='c'", "either at_least"),
    ("[promise.x]\ntask='a'\nat_least=1", "a task and a model"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_leest=1", "did you mean 'at_least'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least='1'", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=nan", "not finite"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=true", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nnot_worse_than='c'\nmargin=-1", "0 or more"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nlimit=0", "at least one image"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nundecided='maybe'", "'broken' or 'passes'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nmetric='speed'", "beside a peer"),
    ("other=1\n[promise.x]\ntask='a'\nmodel='b'\nat_least=1", "it has other"),
])  # fmt: skip
def test_a_wrong_file_is_said_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"gates\.toml") as error:
        promises.read(path)
    assert told in str(error.value)
