"""Plain weights of a model whose adapters were trained."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.engine.plan import CohortPlan
from vtune.hparams import Hparams
from vtune.learner.freezing import text_of
from vtune.learner.frozen import WEIGHTS
from vtune.lora.adapters import product
from vtune.lora.net import ADAPTERS, AdaptedNet, Path
from vtune.lora.uses import Split
from vtune.results.member import Member
from vtune.rng.keys import IMPL
from vtune.types import PyTree


def merge(member: Member) -> PyTree:
    """Returns the variables of the unadapted model with W + (alpha / rank) A B in the place of W.

    They are NumPy arrays and go where the model's own do: `model.apply(vt.lora.merge(member), x)`,
    for nnx `nnx.update(module, vt.lora.merge(member))`. With several folds or seeds every leaf is
    [folds, seeds, ...], as in `member.variables`.

    Args:
      member: of a sweep of `vt.lora.adapt`, such as `sweep.best`.

    Raises:
      TypeError: it is no member. ValueError: of another learner, or of a model that takes no data.
    """
    if not isinstance(member, Member):
        raise TypeError(
            f"vt.lora.merge: got {type(member).__name__}, not a member; write "
            "vt.lora.merge(sweep.best)"
        )
    record = member.record
    freezing = record.plan.learner.freezing
    net = None if freezing is None else freezing.net
    if not isinstance(net, AdaptedNet) or not record.rows:
        raise ValueError(
            "vt.lora.merge: the member's learner has no adapters; its weights are "
            "member.variables as they are"
        )
    column = int(record.columns_of(member.index))
    cohort = record.plan.cohorts[record.places[column][0]]
    h = cohort.h({name: jnp.asarray(value) for name, value in record.traced(column).items()})
    variables = member.variables
    adapters = flatten_dict(variables[ADAPTERS])
    leaves = flatten_dict({name: part for name, part in variables.items() if name != ADAPTERS})
    lead = 0 if member.trainings is None else 2
    merged = {path: np.asarray(leaf) for path, leaf in leaves.items()}
    for path, split in _splits(net, cohort, h, record.rows).items():
        a, b = (np.asarray(adapters[(*path, name)]) for name in ("a", "b"))
        scale = np.asarray(net.settings.scale(h, a.shape[-1], a.dtype))
        place = net.in_variables((WEIGHTS, *path))
        if place not in merged:
            raise ValueError(f"vt.lora.merge: the member has no {text_of(path)}")
        merged[place] = _sum(merged[place], split, a, b, scale, lead)
    return unflatten_dict(merged)


def _sum(
    weight: np.ndarray, split: Split, a: np.ndarray, b: np.ndarray, scale: np.ndarray, lead: int
) -> np.ndarray:
    """Returns a weight with what its adapter adds, one after the other along the `lead` axes."""
    out = np.array(weight)
    for place in np.ndindex(weight.shape[:lead]):
        out[place] = weight[place] + product(split, a[place], b[place], scale)
    return out


def _splits(
    net: AdaptedNet, cohort: CohortPlan, h: Hparams, rows: dict[str, Any]
) -> dict[Path, Split]:
    """Returns the axes of a member's adapters, read off its model's shapes."""
    batch = {
        name: jax.ShapeDtypeStruct((cohort.batch_size or 1, *shape), jnp.dtype(dtype))
        for name, (shape, dtype) in rows.items()
    }
    found: dict[Path, Split] = {}

    def look(key: Any, h: Hparams, batch: Any) -> None:
        found.update(net.splits(key, h, batch))

    jax.eval_shape(look, jax.eval_shape(lambda: jax.random.key(0, impl=IMPL)), h, batch)
    return found
