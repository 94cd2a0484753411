"""MLflow: the server or store of MLFLOW_TRACKING_URI, else `mlflow.db` (SQLite) and `mlartifacts/` of the folder.

The default is a database because MLflow's store of plain files is in maintenance mode; MLFLOW_ALLOW_FILE_STORE=true
allows such a store in MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from harness.tracking.events import PROJECT, Fact, Status

STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """One run of the experiment `PROJECT`, or of MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, name: str, facts: Mapping[str, Fact], folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("alembic").setLevel(logging.WARNING)  # of each step that makes the database
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        artifacts = None
        if not uri:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
            artifacts = (folder.resolve() / "mlartifacts").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment, artifacts)
        self._run = self._client.create_run(number, run_name=name).info.run_id
        parameters = [Param(key, str(value)) for key, value in facts.items() if value is not None]
        self._client.log_batch(self._run, params=parameters)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))

    def finish(self, status: Status) -> None:
        self._client.set_terminated(self._run, STATUS[status])
