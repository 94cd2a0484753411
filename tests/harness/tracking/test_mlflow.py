"""MLflow: its database, and its store of files where a user allows that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.tracking.scenario import BYTES, send, without_secret

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow 3.17 with SQLAlchemy 2.1


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def check(uri: str, artifacts: Path) -> None:
    """The two runs of the scenario in a store."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("florence2-harness")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    first = runs["refcoco val"]
    assert (first.info.status, runs["second"].info.status) == ("FINISHED", "FAILED")
    assert first.data.params == {"task": "refcoco", "seed": "0", "folder": "a b"}
    assert first.data.metrics == {"Acc_0.5": 62.5, "Acc_0.5_low": 60.0, "failed": 1.0, "rate": 2.5}
    history = client.get_metric_history(first.info.run_id, "Acc_0.5")
    assert sorted((metric.step, metric.value) for metric in history) == [(10, 50.0), (20, 62.5)]
    [last] = client.get_metric_history(first.info.run_id, "rate")
    assert last.step == BYTES
    [kept] = artifacts.rglob("artifacts/run.json")
    assert kept.read_text() == '{"a": 1}'


def test_mlflow_without_a_server_keeps_runs_in_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_secret(tmp_path, monkeypatch):
        send("mlflow", tmp_path / "a folder")
    check(f"sqlite:///{tmp_path / 'a folder' / 'mlflow.db'}", tmp_path / "a folder/mlartifacts")


def test_mlflow_uses_the_store_that_its_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    send("mlflow", tmp_path / "out")
    check((tmp_path / "store").as_uri(), tmp_path / "store")
    assert not (tmp_path / "out/mlflow.db").exists()
