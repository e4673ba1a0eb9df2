"""vtune on a workload: whole warm calls of `vt.tune`, drawing, scoring and results included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from workloads import Workload

import vtune as vt


def xent(outputs: Any, batch: Any, h: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["y"])


def adam(h: Any) -> Any:
    return optax.adam(h["lr"])


def sweep(work: Workload, form: str = "auto") -> dict[str, Any]:
    """The arguments of `vt.tune` for the epochs of everybody, then scores on one batch."""
    x, y = work.data()
    rows = lambda part: {"x": x[part], "y": y[part]}
    return {
        "learner": vt.flax_learner(work.model, optimizer=adam, loss=xent, rewrite=form),
        "space": {"lr": vt.Float(1e-5, 1.0, log=True)},
        "data": vt.from_splits(rows(slice(work.batch, None)), rows(slice(0, work.batch))),
        "search": vt.Given([{"lr": float(rate)} for rate in work.rates()]),
        "epochs": work.epochs,
        "rounds": 1,
        "batch_size": work.batch,
    }


def tuned(work: Workload, layout: Any = None, form: str = "auto") -> tuple[Callable[[], Any], int]:
    """The epochs of the whole population, then scores on one batch. Returns what to time, and
    member-steps."""
    made = sweep(work, form)
    run = lambda: vt.tune(**made, layout=layout, progress=False)
    return run, work.members * work.steps * work.epochs


def refined(rounds: int) -> Callable[[], Any]:
    """1,000 rounds of PBT and the like: 32 members of one weight, PBT before every round."""
    learner = vt.Learner(
        init=lambda key, h, batch: np.float32(1.0),
        step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: x**2 / 2,
        score=lambda total: {"loss": total},
    )
    space = {"lr": vt.Float(1e-4, 1e-2, log=True)}

    def run() -> vt.Sweep:
        sweep = vt.tune(
            learner, space, search=vt.Halton(32), refiner=vt.PBT(), steps=rounds, rounds=rounds
        )
        assert (sweep.parents[1:] != np.arange(32)).sum() == 8 * (rounds - 1)
        return sweep

    return run
