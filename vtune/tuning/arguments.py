"""Checks of the arguments of `vt.tune`, one by one."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr

from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.validate import check_finite
from vtune.engine.plan import as_arrays
from vtune.engine.replicates import Replicates
from vtune.learner.pretrained import plain
from vtune.learner.protocol import Learner
from vtune.results.member import Member
from vtune.validation import is_whole

_LEARNERS = {  # what the functions of a learner are given
    "init": "key, h, batch",
    "step": "key, h, state, batch",
    "measure": "key, h, state, batch, weight",
    "score": "totals",
}


def check_is_refiner(refiner: Any) -> None:
    """Raises where it is none."""
    if isinstance(refiner, type) or not hasattr(refiner, "refine"):
        raise TypeError(f"refiner={refiner!r} is no refiner; write vt.PBT() or vt.Halving()")
    if any(leaf is refiner for leaf in jax.tree.leaves(refiner)):
        raise TypeError(
            f"refiner={refiner!r} is not registered with JAX; write @jax.tree_util."
            "register_dataclass and @dataclass(frozen=True) above its class"
        )


def _mode(learner: Learner, metric: Any, mode: Any) -> str:
    if not isinstance(metric, str) and not callable(metric):
        raise TypeError(f"metric={metric!r} is neither a name nor a function of the metrics")
    if mode is None:
        own = dict(learner.modes)
        known = {"loss": "min", **own}
        if metric not in known:
            others = f"choose one of those that do, {sorted(own)}, or " if own else ""
            raise ValueError(
                f"metric={metric!r} does not say whether higher is better; {others}"
                'say mode="max" or mode="min"'
            )
        return known[metric]
    if mode not in ("max", "min"):
        raise ValueError(f'mode={mode!r} must be "max" (higher is better) or "min"')
    return mode


def _trainings(data: Data | None, seeds: Any) -> Replicates | None:
    """The folds and seeds of a member; None where it is a single training."""
    if seeds is not None and (not is_whole(seeds) or seeds < 1):
        raise ValueError(f"seeds={seeds!r} must be a whole number, 1 or more")
    folds = data.folds if isinstance(data, Folds) else None
    if folds is None and seeds in (None, 1):
        return None
    return Replicates(folds or 1, int(seeds or 1), folds is not None)


def _weights(learner: Learner, init_from: Any) -> Any:
    """Weights from elsewhere, as arrays."""
    if init_from is None:
        return None
    if learner.load is None:
        raise ValueError("init_from: this learner has no load function; give Learner(load=...)")
    several = init_from.trainings if isinstance(init_from, Member) else None
    if several is not None:
        raise ValueError(
            f"init_from: a member of {several.folds} folds and {several.seeds} seeds has as many "
            "weights; give those of one: jax.tree.map(lambda a: a[fold, seed], member.variables)"
        )
    tree = plain(init_from.variables if isinstance(init_from, Member) else init_from)
    if not isinstance(tree, dict) or not jax.tree.leaves(tree):
        raise TypeError(
            f"init_from={type(init_from).__name__} is no tree of weights; give sweep.best, or "
            'variables such as {"params": {...}}, whole or part'
        )
    check_finite(
        "init_from", {keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(tree)}
    )
    return as_arrays(jax.tree.map(np.asarray, tree))  # a program of other devices takes them, too
