"""Options that several commands share, and how settings are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.cli import options
from harness.cli.options import Workers
from harness.cluster.connection import Spread
from harness.errors import UsageError
from harness.tracking.events import TRACKERS, Kind
from tests.harness.conftest import Call as InFolder


def test_key_values() -> None:
    assert options.key_values(None) == {}
    assert options.key_values(["rate=1e-5", " steps = 10=10"]) == {"rate": "1e-5", "steps": "10=10"}
    with pytest.raises(UsageError, match="--set rate: key=value"):
        options.key_values(["rate"])


def test_workers_without_ray_are_one_process() -> None:
    assert Workers().spread() is None


def test_workers_on_ray_have_the_given_options_and_defaults() -> None:
    spread = Workers(executor="ray", workers=3, chunk=8, ship_images=True).spread()
    assert spread == Spread(address="local", workers=3, gpus_per_worker=None, chunk=8, ship_images=True)


@pytest.mark.parametrize(("given", "option"), [
    ({"workers": 2}, "--workers"), ({"address": "auto"}, "--address"), ({"gpus_per_worker": 0.5}, "--gpus-per-worker"),
    ({"ship_images": True}, "--ship-images"), ({"chunk": 8}, "--chunk"),
])  # fmt: skip
def test_option_of_workers_without_ray_is_refused(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is an option of --executor ray"):
        Workers(**given).spread()


@pytest.mark.parametrize("command", [
    ("run", "--task", "refcoco", "--model", "oracle", "--data", "miniature"),
    ("finetune", "--task", "refcoco", "--model", "florence2-nano", "--data", "miniature"),
    ("train", "--recipe", "nano"),
    ("bench", "--model", "whole-image", "--data", "miniature"),
    ("ablate", "--study", "prompts"),
    ("data", "fetch", "--task", "refcoco", "--data", "."),
    ("engine", "annotate", "--data", "miniature", "--to", "engine"),
], ids=" ".join)  # fmt: skip
def test_command_refuses_a_tracker_that_is_not_installed_before_it_works(
    call: InFolder, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "mlflow", Kind("mlflow.MLflow", "no_such_package", "pip install it"))
    status, out, said = call(*command, "--log-to", "mlflow")
    assert (status, out) == (2, "")
    assert said.endswith("error: --log-to mlflow: no_such_package is not installed: pip install it")
    assert not list(tmp_path.iterdir())
