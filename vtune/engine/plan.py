"""The plan of a sweep: everything static, which makes the identity of its program.

Two sweeps with equal plans run the same executable. Hyperparameters, bounds, seeds and data of the
same shapes are arguments of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune import target
from vtune.engine.layout import Layout
from vtune.engine.replicates import Replicates
from vtune.hparams import Hparams, Static
from vtune.learner.captured import captured
from vtune.learner.protocol import Learner
from vtune.refine.base import Rung
from vtune.types import PyTree

MAX_TRAININGS = 10**8  # beyond it, counting them alone would fill a host's memory


class FoldSteps(NamedTuple):
    """The steps that one fold takes: those of an epoch, and those of the whole training."""

    steps_per_epoch: int
    steps: int


@dataclass(frozen=True)
class CohortPlan:
    """The plan of one cohort: what its members share.

    Attributes:
      static: structural choices, fixed values, `total_steps` and `steps_per_epoch` by name; the
        last two are traced where folds differ in them or the sizes of the data are traced.
      traced: (name, dtype) of each traced hyperparameter; "total_steps" among them where members
        or folds have their own.
      size: the number of members.
      batch_size: rows per step, None without data.
      steps: steps of the whole training, of the largest fold where folds differ.
      steps_per_epoch: as `steps`; None without data.
      rungs: the population's sizes over the rounds.
      past: of an extended sweep, the steps done by the end of each earlier round; a tuple by fold
        where folds differ.
      stretched: whether the earlier rounds were trained with another `total_steps`.
      by_fold: where folds differ, the steps of each; else None.
      own_epochs: whether each member has its own number of epochs, given by its "total_steps".
    """

    static: Static
    traced: tuple[tuple[str, str], ...]
    size: int
    batch_size: int | None
    steps: int
    steps_per_epoch: int | None
    rungs: tuple[Rung, ...]
    past: tuple[Any, ...] = ()
    stretched: bool = False
    by_fold: tuple[FoldSteps, ...] | None = None
    own_epochs: bool = False

    @property
    def shrinks(self) -> bool:
        """Whether the refiner drops members; it is then asked only where the rung changes."""
        return any(rung.size != self.size for rung in self.rungs)

    def h(self, traced: dict[str, Any], reads: set[str] | None = None) -> Hparams:
        """Returns one member's hyperparameters, from its traced values; notes in `reads` the names
        that are read."""
        return Hparams(traced, self.static.value, reads)


class Stopping(NamedTuple):
    """When members stop early, and which weights they keep.

    Attributes:
      patience: rounds without a better score after which a member stops; None for no limit.
      keep: "best" or "last", the weights that a member holds at the end.
      own_epochs: whether each member has its own number of epochs, given by its "total_steps".
    """

    patience: int | None
    keep: str
    own_epochs: bool


@dataclass(frozen=True)
class Plan:
    """The identity of a program.

    Attributes:
      learner: compared by the identity of its functions.
      cohorts: the cohorts' plans, in order.
      rounds: how often members are scored.
      metric: the name of a recorded metric, or a function of the metrics.
      mode: "max" or "min".
      eval_batch_size: rows scored at once, None without data.
      layout: as resolved for this machine.
      arguments: structure, shapes and types of the program's `Arguments`.
      config: the settings of JAX that change what is compiled.
      stopping: None where all members train to the end and keep their last weights.
      replicates: folds and seeds; None where a member is trained once.
      past: of an extended sweep, the rounds that were run before.
      anew: whether the refiner of an extended sweep starts with a fresh memory.
    """

    learner: Learner
    cohorts: tuple[CohortPlan, ...]
    rounds: int
    metric: str | Callable[..., Any]
    mode: str
    eval_batch_size: int | None
    layout: Layout
    arguments: Any
    config: tuple[Any, ...]
    stopping: Stopping | None = None
    replicates: Replicates | None = None
    past: int = 0
    anew: bool = False

    def __post_init__(self) -> None:
        members = sum(cohort.size for cohort in self.cohorts)
        folds, seeds, *_ = self.replicates or (1, 1)
        if members * folds * seeds > MAX_TRAININGS:
            raise ValueError(
                f"{members:,} members of {folds:,} folds and {seeds:,} seeds are "
                f"{members * folds * seeds:,} trainings; {MAX_TRAININGS:,} at most"
            )

    def reads(self) -> Static:
        """Returns what the functions of the program read from outside at present."""
        refiner = shapes_of(self.arguments).refiner
        values = [value for cohort in self.cohorts for value in cohort.static.value.values()]
        values += getattr(refiner, "__dict__", {}).values()
        functions = [value for value in values if isinstance(value, FunctionType | type)]
        return captured(self.learner, self.metric, type(refiner), *functions)

    @property
    def keeps_best(self) -> bool:
        """Whether members hold the weights of their best round, and dropped members theirs too."""
        return self.stopping is not None and self.stopping.keep == "best"

    @property
    def sign(self) -> float:
        """1 where a higher metric is better, else -1; scores are the metric times it."""
        return 1.0 if self.mode == "max" else -1.0


def describe(tree: PyTree) -> Any:
    """Returns a pytree's structure, shapes and types as a hashable value."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), str(_dtype(leaf))) for leaf in leaves)


def shapes_of(description: Any) -> Any:
    """Returns a pytree of shapes, from what `describe` returned of the pytree."""
    structure, leaves = description
    shapes = [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape, dtype in leaves]
    return jax.tree.unflatten(structure, shapes)


def as_arrays(tree: PyTree) -> PyTree:
    """Converts plain numbers, such as a refiner's factor, to arrays of the program's types."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            return leaf
        array = np.asarray(leaf)
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))

    return jax.tree.map(convert, tree)


def jax_config() -> tuple[Any, ...]:
    """Returns the settings of JAX that change what is compiled."""
    names = (
        "jax_enable_x64",
        "jax_default_matmul_precision",
        "jax_threefry_partitionable",
        "jax_numpy_rank_promotion",
        "jax_debug_nans",
    )
    device = str(getattr(jax.config, "jax_default_device"))  # noqa: B009 (unknown to the types)
    return (
        *(getattr(jax.config, name) for name in names),
        device,
        target.platform(),
        *map(str, target.devices()),
    )


def _dtype(leaf: Any) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
