"""run.json: ids, and records that are current, older, later or damaged."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core import Estimate, Run, RunSpec
from harness.errors import DataError
from harness.store import SCHEMA, as_json, edited, records, run_id, sealed, with_status
from tests import toy

RUN = Run(
    schema=SCHEMA,
    id="0",
    spec=RunSpec(data="d", data_hash="h", task="t", version=1, split="val", model="m", fingerprint="f"),
    status="complete",
    headline="R@1",
    metrics={"R@1": Estimate(50.0, 40.0, 60.0, 9)},
)


def test_record_round_trips(tmp_path: Path) -> None:
    records.write_run(tmp_path / "run.json", RUN)
    assert records.read_run(tmp_path / "run.json") == RUN
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(as_json(RUN))
    assert json.loads(as_json([RUN]))[0]["metrics"] == {"R@1": {"value": 50.0, "low": 40.0, "high": 60.0, "n": 9}}


@pytest.mark.parametrize("path", ["run.json", "file/run.json"])
def test_record_that_does_not_exist_is_none(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()  # not a folder
    assert records.read_run(tmp_path / path) is None


def test_record_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(DataError, match=r"run\.json cannot be read: Is a directory"):
        records.read_run(tmp_path / "run.json")


def test_run_id_is_the_documented_digest_of_the_spec() -> None:
    canonical = (
        '{"data": "d", "data_hash": "h", "fingerprint": "f", "limit": null, "model": "m", "protocol": "zero_shot", '
        '"seed": 0, "split": "val", "task": "t", "version": 1}'
    )
    assert run_id(RUN.spec) == hashlib.sha256(canonical.encode()).hexdigest()[:12]


def test_run_id_differs_for_other_version_limit_or_seed() -> None:
    spec = toy.spec(toy.task())
    assert run_id(spec) == run_id(toy.spec(toy.task()))
    others = [toy.spec(toy.task(version=2)), toy.spec(toy.task(), limit=3), toy.spec(toy.task(), limit=3, seed=1)]
    assert len({run_id(other) for other in [spec, *others]}) == 4


def test_with_status_changes_only_the_given_fields() -> None:
    assert with_status(RUN, status="partial") == replace(RUN, status="partial")
    assert RUN.status == "complete"


@pytest.mark.parametrize("data", [
    b"{", b'{"schema": 1}', b"[]", b'{"schema": "1"', b"null", b"", b"\xff", b"[" * 100_000,
    b'{"schema": 2, "provenance": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_001,
    b'{"schema": 1, "spec": {"fingerprint": 3}}', b'{"schema": 1, "spec": []}', b'{"schema": %s}' % (b"9" * 5000),
])  # fmt: skip
def test_damaged_record_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(DataError, match=r"is not a run record: .*; remove its folder, or run again with --fresh"):
        records.read_run(tmp_path / "run.json")


def test_record_of_later_schema_is_refused(tmp_path: Path) -> None:
    records.write_run(tmp_path / "run.json", replace(RUN, schema=SCHEMA + 1))
    with pytest.raises(DataError, match=f"has schema {SCHEMA + 1}; this version reads 1 to {SCHEMA}"):
        records.read_run(tmp_path / "run.json")


def test_record_of_earlier_schema_is_upgraded_and_its_file_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    records.write_run(path, replace(RUN, schema=1))
    old = json.loads(path.read_text())
    old["name_of_headline"] = old.pop("headline")  # the field's name in an imaginary schema 1
    path.write_text(json.dumps(old))

    def renamed(record: dict[str, Any]) -> dict[str, Any]:
        return {("headline" if name == "name_of_headline" else name): value for name, value in record.items()}

    monkeypatch.setattr(records, "SCHEMA", 2)
    monkeypatch.setattr(records, "MIGRATIONS", {1: renamed})
    assert records.read_run(path) == replace(RUN, schema=2, id=run_id(RUN.spec))
    assert json.loads(path.read_text()) == old
    monkeypatch.setattr(records, "MIGRATIONS", {})
    with pytest.raises(DataError, match="has schema 1; this version reads 1 to 2"):
        records.read_run(path)


def test_edited_tells_changed_metrics_and_counts_after_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    metrics = {"b": Estimate(1 / 3, None, None, 3), **RUN.metrics}
    run = sealed(replace(RUN, metrics=metrics, counts={"samples": 3, "images": 2}))
    records.write_run(path, run)
    read = records.read_run(path)
    assert read is not None and not edited(read)
    for field, changed in (
        ("metrics", {**metrics, "R@1": Estimate(50.1, 40.0, 60.0, 9)}),
        ("counts", {"samples": 3, "images": 5000}),
        ("headline", "b"),
    ):
        assert edited(replace(read, **{field: changed}))
    assert not edited(replace(read, provenance={"date": "today"}))  # other entries may be added or corrected
    assert not edited(replace(RUN, metrics={}))  # without a checksum, as versions before 0.14 wrote


def test_as_json_has_no_character_that_a_terminal_obeys() -> None:
    text = as_json({"a": "\x1b[2J\x9b\u202e é\U000e0001"})
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"a": "\x1b[2J\x9b\u202e é\U000e0001"}


# ---------------------------------------------------------------------------- fields


def _written(tmp_path: Path, **fields: Any) -> Path:
    """A run.json of RUN with some fields replaced, without any check."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(json.loads(as_json(RUN)) | fields))
    return path


@pytest.mark.parametrize(("fields", "message"), [
    ({"id": "../../../home/me"}, r"the id '../../../home/me' has other characters than letters, digits, - and _"),
    ({"id": ""}, "the id ''"),
    ({"id": ".."}, r"the id '\.\.'"),
    ({"id": "a" * 65}, "the id 'aaa"),
    ({"id": "a\n"}, "the id"),
    ({"status": "good"}, r"Invalid enum value 'good' - at `\$.status`"),
    ({"counts": {"images": -1}}, "counts: Expected `int` >= 0"),
    ({"counts": {"images": 10**400}}, "run.json is not a run record"),
    ({"counts": {"images": 10**18}}, "counts: Expected `int` <= 1000000000000000"),
    ({"metrics": {"R@1": {"value": 50.0, "low": 40.0, "high": None, "n": 9}}}, "the metric 'R@1' is"),
    ({"metrics": {"R@1": {"value": None, "low": 40.0, "high": 50.0, "n": 9}}}, "the metric 'R@1' is"),
    ({"metrics": {"R@1": {"value": 50.0, "low": 60.0, "high": 40.0, "n": 9}}}, "the metric 'R@1' is"),
    ({"metrics": {"R@1": {"value": 50.0, "low": None, "high": None, "n": -1}}}, "n of the metric 'R@1'"),
    ({"metrics": {"R@1": {"value": 1e300, "low": None, "high": None, "n": 9}}}, "the metric 'R@1' is"),
    ({"metrics": {"R@1": {"value": "50", "low": None, "high": None, "n": 9}}}, "Expected `float | null`"),
    ({"timings": {"seconds": "3"}}, "timings: Expected `float`, got `str`"),
    ({"timings": {"peak GPU memory MiB": "9"}}, "timings: Expected `float`, got `str`"),
    ({"timings": {"answers/s": 3.0, "seconds": 1.0}}, "timings has 'answers/s' without 'images/s'"),
    ({"timings": {"latency of": "an answer"}}, "timings has 'latency of' without 'p50 s'"),
    ({"provenance": {"model": None}}, "provenance: Expected `object`, got `null`"),
    ({"provenance": {"mine": json.loads("[" * 100 + "]" * 100)}}, "provenance is nested more than 50 deep"),
    ({"provenance": {"marking": [3]}}, "provenance: Expected `str`, got `int`"),
    ({"provenance": {"failures": ["no image"]}}, "provenance: Expected `object`, got `array`"),
    ({"provenance": {"date": 20261129}}, "provenance: Expected `str`, got `int`"),
    ({"provenance": {"note": "\udc00"}}, "not a run record"),
    ({"spec": {**json.loads(as_json(RUN.spec)), "limit": 0}}, "spec.limit: Expected `int` >= 1"),
    ({"spec": {**json.loads(as_json(RUN.spec)), "seed": -1}}, "spec: version and seed: Expected `int` >= 0"),
])  # fmt: skip
def test_field_that_no_run_has_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        records.read_run(_written(tmp_path, **fields))
    assert "\n" not in str(caught.value)


def test_entries_that_nothing_reads_may_hold_anything(tmp_path: Path) -> None:
    model = {"beams": [3], "device": ["cuda:0", "cuda:1"], "prompts": None}
    more = {"provenance": {"mine": [None, {"deep": 1e300}], "model": model}, "counts": {"cats": 3}}
    run = records.read_run(_written(tmp_path, **more))
    assert run == replace(RUN, **more)


def test_record_that_is_a_pipe_or_too_large_is_refused_unread(tmp_path: Path) -> None:
    """Reading the pipe would wait for ever."""
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(DataError, match=r"run\.json cannot be read: a pipe or a device, not a file"):
        records.read_run(tmp_path / "run.json")
    (tmp_path / "run.json").unlink()
    with (tmp_path / "run.json").open("wb") as stream:
        stream.truncate(records.MOST_BYTES + 1)  # takes no space on the disk
    with pytest.raises(DataError, match=r"cannot be read: 16,777,217 bytes; at most 16,777,216"):
        records.read_run(tmp_path / "run.json")


def test_every_committed_record_is_read() -> None:
    root = Path(__file__).parents[3]
    paths = [*(root / "results").rglob("run.json"), *(root / "baselines/frozen").rglob("run.json")]
    assert len(paths) > 50 and len(list(records.readable(paths))) == len(paths)
