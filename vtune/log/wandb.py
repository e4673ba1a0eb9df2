"""`vt.log.WandB`: a sweep as one run of Weights & Biases, or as a group of one run a member."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vtune.log.curves import CURVES, curves, scalars
from vtune.log.libraries import imported
from vtune.log.rows import plain
from vtune.results.report import Report, Run
from vtune.results.sweep import Sweep

MOST_RUNS = 64  # an own run a member takes W&B half a second or so to begin


class WandB:
    """Logs to Weights & Biases.

    By default the sweep is one run: curves of the leading member (`best/<metric>`), the median and
    quantiles, and at the end a table `members` with everybody's hyperparameters, last values and
    status. With `runs="members"` each member is a run `member-<i>` of one group, with its
    hyperparameters as config; W&B's parallel coordinates and importances need that.

    A sweep that goes on (`vt.extend`) is logged as a new run that begins at its first round, unless
    `id=` and `resume=` are given, which W&B knows.

    Args:
      project: its name; what W&B is set to when left out.
      runs: "sweep" or "members".
      strict: whether a failure ends the sweep; see `docs/guides/callbacks.md`.
      init: what else `wandb.init` takes, such as `entity=`, `group=`, `name=`, `mode="offline"`.

    Raises:
      ImportError: wandb is not installed.
      ValueError: an own run for each of more than 64 members. Raised before anything is compiled.
    """

    def __init__(
        self, project: str | None = None, *, runs: str = "sweep", strict: bool = False, **init: Any
    ):
        if runs not in ("sweep", "members"):
            raise ValueError(f'vt.log.WandB: runs={runs!r} must be "sweep" or "members"')
        (self._wandb,) = imported("vt.log.WandB", "wandb", "wandb")
        self._runs, self.strict = runs, strict
        self._open: list[Any] = []
        self._init = {"project": project, "reinit": "create_new", **init}

    def begin(self, run: Run) -> None:
        goes_on = run.generation > 0 and bool(self._open)
        self._run = run
        about = {"plan": run.plan, "seed": run.seed, "metric": run.metric_name, "mode": run.mode}
        if self._runs == "sweep":
            if goes_on:
                return
            space = {name: str(part[name]) for part in run.space.parts for name in part}
            config = {**about, "members": len(run), "rounds": run.rounds, "space": space}
            self._open = [self._wandb.init(**{**self._init, "config": config})]
            return
        if run.planned > MOST_RUNS:
            raise ValueError(
                f'vt.log.WandB: runs="members" would make {run.planned} runs, and {MOST_RUNS} are '
                "the most; leave runs= out, or log the winners of sweep.retrain(...) yourself"
            )
        if not goes_on:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            self._group, self._open = self._init.get("group") or f"sweep {now}", []
        self._open += [
            self._wandb.init(
                **{
                    **self._init,
                    "group": self._group,
                    "name": f"{self._init.get('name') or 'member'}-{member:03}",
                    "config": {**about, **{n: plain(v) for n, v in hparams.items()}},
                }
            )
            for member, hparams in enumerate(run.hparams)
            if member >= len(self._open)
        ]

    def rounds(self, report: Report) -> None:
        if self._runs == "sweep":
            for round, found in curves(self._run, report):
                values = {f"{c}/{n}": v for c in CURVES for n, v in found[c].items()}
                alive = int(report.trained[round - report.first].sum())
                self._open[0].log({**values, "members trained": alive}, step=round)
            return
        metrics = scalars(report)
        changing = {f"hparams/{name}": report.settings[name] for name in self._run.changing}
        for row, member in zip(*np.nonzero(report.trained), strict=True):
            values = {n: float(v[row, member]) for n, v in {**metrics, **changing}.items()}
            values = {name: value for name, value in values.items() if np.isfinite(value)}
            self._open[member].log(values, step=report.first + int(row))

    def end(self, sweep: Sweep) -> None:
        if self._runs == "sweep":
            self._open[0].log({"members": self._table(sweep)})
        else:
            for run, member in zip(self._open, sweep, strict=True):
                run.summary["status"] = member.status
        for run in self._open:
            run.finish()
        self._open = []

    def _table(self, sweep: Sweep) -> Any:
        """Returns one row a member: hyperparameters, last values, status."""
        records, names = sweep.trained.records, self._run.space.names
        metrics = [name for name, values in records.history.items() if values.ndim == 2]
        hparams = [f"hparams/{name}" if name in metrics else name for name in names]
        last = {name: records.history[name][sweep.trained.last_trained] for name in metrics}
        rows = []
        for number, member in enumerate(sweep):
            values = [float(last[name][number]) for name in metrics]
            # a column of W&B's table has one type, and text is one that all values have
            settings = [plain(member.hparams.get(name)) for name in names]
            rows.append([number, *settings, *values, member.status])
        for column in range(1, 1 + len(names)):
            kinds = {type(row[column]) for row in rows} - {type(None)}
            if len(kinds) > 1 and kinds != {int, float}:
                for row in rows:
                    row[column] = None if row[column] is None else str(row[column])
        return self._wandb.Table(columns=["member", *hparams, *metrics, "status"], data=rows)
