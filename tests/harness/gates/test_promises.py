"""Files of promises: keys, values, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.gates import promises


@pytest.mark.parametrize(("text", "message"), [
    ("", "promises nothing"),
    ("promise = 3", "tables"),
    ("[promise.x", "is no TOML"),
    ("[promise.x]\ntask='a'\nmodel='b'", "either at_least"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nnot_worse_than='c'", "'at_least' is not used"),
    ("[promise.x]\ntask='a'\nat_least=1", "a task and a model"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_leest=1", "did you mean 'at_least'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least='1'", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=nan", "not finite"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=true", "is no int or float"),
    ("[promise.x]\ntask='a'\nmodel='b'\nnot_worse_than='c'\nmargin=-1", "0 or more"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nlimit=0", "at least one image"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nundecided='maybe'", "'broken' or 'passes'"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nmetric='speed'", "versus a peer"),
    ("other=1\n[promise.x]\ntask='a'\nmodel='b'\nat_least=1", "this one has other"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\nmargin=2", "'margin' is not used by a promise of a bound"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\ndiffers=['precision']", "'differs' is not used"),
    ("[promise.x]\ntask='a'\nmodel='b'\nat_least=1\npeer='transformers'", "'peer' is not used"),
    ("[promise.x]\ntask='a'\nmodel='b'\nmetric='speed'\npeer='transformers'\nat_most=1", "'at_most' is not used"),
    ("[promise.x]\ntask='a'\nmodel='b'\nmetric='speed'\npeer='t'\nnot_worse_than='c'", "'not_worse_than' is not used"),
    ("[promise.x]\ntask='a'\nmodel='b'\nmetric='speed'\npeer='t'\nat_least=1\nlimit=3", "'limit' is not used"),
    ("[promise.x]\ntimings='t.json'\nat_least=1\ntask='a'", "'task' is not used by a promise of recorded speed"),
    ("[promise.x]\nbase='main'\nbenchmarks='b'\nat_least=1\nlimit=3", "'limit' is not used"),
    ("[promise.x]\nbase='main'\nat_least=1", "base and benchmarks go together"),
    ("[promise.x]\nbenchmarks='b'\nat_least=1", "base and benchmarks go together"),
    (
        "[promise.x]\nbase='main'\nbenchmarks='b'\nat_most=1",
        "'at_most' is not used by a promise of speed of benchmarks",
    ),
    ("[promise.x]\nbase='main'\nbenchmarks='b'\nat_least=1\nmetric='parity'", "benchmarks are about speed"),
    ("[promise.x]\ntask='a'\nmodel='b'\nnot_worse_than='c'\ndiffers=['colour']", "differs has 'colour'"),
    ("[promise.x]\ntask='a'\nmodel='florence2-nano'\nat_least=1\nbeems=3", "did you mean 'beams'"),
    ("[promise.x]\ntask='a'\nmodel='oracle'\nat_least=1\nbeams=3", "there is no 'beams'"),
    ("[promise.x]\ntask='a:T'\nmodel='b'\nat_least=1", "would import a module; if you trust it, add --import a:T"),
    ("[promise.x]\ntask='a'\nmodel='os:system'\nat_least=1", "add --import os:system"),
])  # fmt: skip
def test_malformed_file_is_an_error_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"gates\.toml") as error:
        promises.read(path)
    assert message in str(error.value)


def test_promise_with_options_of_run_and_of_the_model_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(
        "[promise.x]\ntask='refcoco'\nmodel='florence2-nano'\nat_least=1\nweights='w'\ndata='d'\nsplit='val'\nlimit=3\n"
        "seed=1\ndevice='cpu'\ndtype='int8'\nbatch_size=2\nprotocol='zero_shot'\nbeams=1\nmax_new_tokens=20\nresolution=64\n"
    )
    [promise] = promises.read(path).promises
    assert promise.options == {"beams": 1, "max_new_tokens": 20, "resolution": 64}
    assert (promise.dtype, promise.batch_size, promise.protocol, promise.kind) == ("int8", 2, "zero_shot", "a bound")
