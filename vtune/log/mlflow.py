"""`vt.log.MLflow`: a sweep as a run of MLflow, with its best members as runs below it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vtune.log.curves import CURVES, curves
from vtune.log.libraries import imported
from vtune.log.rows import plain
from vtune.results.report import Report, Run
from vtune.results.sweep import Sweep
from vtune.validation import check_count

# What one call of MLflow takes.
MOST_METRICS, MOST_PARAMS, LONGEST = 1000, 100, 500


class MLflow:
    """Logs to MLflow; `mlflow-skinny` is enough for a server.

    The sweep is one run, with curves of the leading member (`best/<metric>`), the median and
    quantiles. At the end the best members become runs below it, with their hyperparameters as
    parameters and their metrics round by round; where a refiner changes a hyperparameter,
    `hparams/<name>` is its curve.

    A sweep that goes on (`vt.extend`) is logged as a new run that begins at its first round.

    Args:
      experiment: its name; made where it is not there.
      tracking_uri: where MLflow keeps runs; what it is set to when left out.
      run_name: of the sweep; MLflow's own choice when left out.
      members: how many of them become runs.
      strict: whether a failure ends the sweep; see `docs/guides/callbacks.md`.

    Raises:
      ImportError: MLflow is not installed.
      ValueError: it cannot write to `tracking_uri`.
    """

    def __init__(
        self,
        experiment: str = "vtune",
        *,
        tracking_uri: str | None = None,
        run_name: str | None = None,
        members: int = 20,
        strict: bool = False,
    ):
        check_count("vt.log.MLflow: members", members, 0)
        tracking, self._entities = imported(
            "vt.log.MLflow", "mlflow", "mlflow.tracking", "mlflow.entities"
        )
        try:
            self._client = tracking.MlflowClient(tracking_uri)
        except Exception as error:
            raise ValueError(
                f"vt.log.MLflow: tracking_uri={tracking_uri!r} cannot be written to ({error}); "
                "mlflow-skinny takes a server, and a folder where MLFLOW_ALLOW_FILE_STORE=true is "
                "set; for a database pip install mlflow"
            ) from error
        self._experiment, self._name, self._members = experiment, run_name, int(members)
        self.strict = strict
        self._parent: Any = None  # of the run that is not finished

    def begin(self, run: Run) -> None:
        self._run = run
        if run.generation and self._parent is not None:  # the run goes on
            return
        parent = self._client.create_run(self._experiment_id(), run_name=self._name)
        self._parent = parent.info
        space = {name: part[name] for part in run.space.parts for name in part}
        about = {"plan": run.plan, "seed": run.seed, "metric": run.metric_name, "mode": run.mode}
        self._log(self._parent.run_id, (), {**about, **{f"space/{n}": v for n, v in space.items()}})

    def rounds(self, report: Report) -> None:
        points = (
            (f"{curve}/{name}", value, round)
            for round, found in curves(self._run, report)
            for curve in CURVES
            for name, value in found[curve].items()
        )
        self._log(self._parent.run_id, points, {})

    def end(self, sweep: Sweep) -> None:
        for number in sweep.ranking[: self._members].tolist():
            member = sweep[number]
            child = self._client.create_run(
                self._parent.experiment_id,
                run_name=f"member-{number:03}",
                tags={"mlflow.parentRunId": self._parent.run_id, "status": member.status},
            ).info.run_id
            self._log(child, self._points(sweep, number), member.hparams)
            failed = member.status.startswith("diverged")
            self._client.set_terminated(child, "FAILED" if failed else "FINISHED")
        self._client.set_terminated(self._parent.run_id)
        self._parent = None

    def _points(self, sweep: Sweep, number: int) -> Iterator[tuple[str, float, int]]:
        """Yields (name, value, round) of a member's metrics, and of what a refiner changed."""
        changing = {f"hparams/{name}": sweep.settings[name] for name in self._run.changing}
        for name, values in {**sweep.history, **changing}.items():
            if values.ndim == 2:
                yield from ((name, v, round) for round, v in enumerate(values[:, number].tolist()))

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return self._client.create_experiment(self._experiment)
        return found.experiment_id

    def _log(self, run: str, points: Iterable[tuple[str, float, int]], params: Any) -> None:
        """Logs points and parameters, no more in one call than MLflow takes."""
        now, of = int(time.time() * 1000), self._entities
        metrics = [of.Metric(n, v, now, r) for n, v, r in points if np.isfinite(v)]
        for part in _parts(metrics, MOST_METRICS):
            self._client.log_batch(run, metrics=part)
        given = [of.Param(name, str(plain(value))[:LONGEST]) for name, value in params.items()]
        for part in _parts(given, MOST_PARAMS):
            self._client.log_batch(run, params=part)


def _parts(values: list[Any], size: int) -> Iterator[list[Any]]:
    """Cuts a list into lists of at most `size`."""
    return (values[start : start + size] for start in range(0, len(values), size))
