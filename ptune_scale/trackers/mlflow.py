"""Curves for MLflow, in a SQLite database of the run's output directory.

A training that goes on goes on in its own run there, and leaves out the steps that were written
before it was ended.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from ptune_scale.trackers.tracker import Tracker, Training

_EXPERIMENT = "ptune_scale"
_LONGEST_SETTING = 500
_NO_NAME = re.compile(r"[^\w. :/-]")


class _Run:
    def __init__(self, training: Training) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._make_metric = Metric
        place = training.run.resolve()
        place.mkdir(parents=True, exist_ok=True)
        self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(
                _EXPERIMENT, artifact_location=(place / "mlflow").as_uri()
            )
        )
        self._newest: dict[str, int] = {}
        # A name may have any letters, so that it is compared here and not in a query.
        runs = self._client.search_runs([experiment])
        run = next((run for run in runs if run.info.run_name == training.name), None)
        if run is None:
            run = self._client.create_run(experiment, run_name=training.name)
            settings = [Param(k, str(v)[:_LONGEST_SETTING]) for k, v in training.settings.items()]
            self._client.log_batch(run.info.run_id, params=settings)
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
            for name in run.data.metrics:
                history = self._client.get_metric_history(run.info.run_id, name)
                self._newest[name] = max(metric.step for metric in history)
        self._id = run.info.run_id

    def add(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        named = {_NO_NAME.sub("_", name): value for name, value in values.items()}
        metrics = [
            self._make_metric(name, value, now, step)
            for name, value in named.items()
            if step > self._newest.get(name, 0)
        ]
        if metrics:
            self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


MLFLOW = Tracker(
    "mlflow",
    "mlflow.db, for mlflow ui --backend-store-uri sqlite:///OUTPUT_DIR/mlflow.db",
    _Run,
    needs=("mlflow", "sqlalchemy", "alembic"),
)
