"""The static description of a sweep: everything that is part of the program's identity.

Two sweeps with equal plans run the same executable; numbers, bounds, seeds and data of the
same shape are its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune.data.dataset import Data
from vtune.engine.layout import Layout
from vtune.engine.replicates import Replicates
from vtune.hparams import Hparams, Static
from vtune.learner.protocol import Learner
from vtune.refine.base import Rung
from vtune.types import PyTree

GATHER_BYTES = 16 * 2**20  # batches gathered together take about this much memory


class StepChunks(NamedTuple):
    """How the steps of a round are taken.

    Attributes:
      period: steps within one epoch and one round. chunk: steps whose rows are gathered
        together. even: all chunks are full, so that every loop's length is static, which a GPU
        runs without asking the host.
    """

    period: int
    chunk: int
    even: bool


@dataclass(frozen=True)
class CohortPlan:
    """What the members of one cohort share.

    Attributes:
      static: structural choices, bare values, `total_steps` and `steps_per_epoch` by name; the last
        two are traced where the sizes of the data are.
      traced: (name, dtype) of each traced hyperparameter; "total_steps" among them where members
        have their own number of epochs.
      size: members. batch_size: rows a step, None without data. steps: in all.
      steps_per_epoch: None without data. rungs: sizes over the rounds.
      past: where a sweep went on, the steps done by the end of each round before. stretched:
        whether those were trained with other `total_steps`.
    """

    static: Static
    traced: tuple[tuple[str, str], ...]
    size: int
    batch_size: int | None
    steps: int
    steps_per_epoch: int | None
    rungs: tuple[Rung, ...]
    past: tuple[int, ...] = ()
    stretched: bool = False

    @property
    def shrinks(self) -> bool:
        """Whether the refiner drops members; it is then asked where the rung changes only."""
        return any(rung.size != self.size for rung in self.rungs)

    def h(self, traced: dict[str, Any], reads: set[str] | None = None) -> Hparams:
        """One member's hyperparameters, from its traced values."""
        return Hparams(traced, self.static.value, reads)

    def boundaries(self, rounds: int) -> np.ndarray:
        """[rounds + 1] the steps at which rounds begin and end: those of the past as they were, the
        others as even as can be."""
        past = np.array((0, *self.past), np.int64)
        to_come = rounds - len(self.past)
        done = np.arange(1, to_come + 1, dtype=np.int64) * (self.steps - past[-1]) // to_come
        return np.concatenate([past, past[-1] + done]).astype(np.int32)

    def stride(self, rounds: int, row_bytes: int) -> StepChunks:
        """How the steps of a round are taken; chunks never cross an epoch's or a round's end."""
        period, most = self.steps // rounds, self.steps // rounds
        regular = np.ptp(np.diff(self.boundaries(rounds))) == 0
        if self.steps_per_epoch is not None and self.batch_size is not None:
            short, long = sorted((period, self.steps_per_epoch))
            regular = regular and long % short == 0
            period = short if regular else self.steps_per_epoch
            most = max(1, GATHER_BYTES // max(1, row_bytes * self.batch_size))
        if not regular:
            return StepChunks(period, min(most, max(period, 1)), False)
        pieces = -(-period // most)
        even = [n for n in range(pieces, 8 * pieces + 1) if period % n == 0]
        if even:
            return StepChunks(period, period // even[0], True)
        return StepChunks(period, -(-period // pieces), False)


class Stopping(NamedTuple):
    """When members stop before the others, and which weights they keep.

    Attributes:
      patience: rounds without a better score, None for any number. keep: "best" or "last".
      own_epochs: whether each member has a number of its own, which its "total_steps" say.
    """

    patience: int | None
    keep: str
    own_epochs: bool


@dataclass(frozen=True)
class Plan:
    """The identity of a program.

    Attributes:
      learner: by the identity of its functions. cohorts: in order. rounds: scorings.
      metric: a name or a function of the metrics. mode: "max" or "min".
      eval_batch_size: rows scored at once, None without data. layout: as resolved.
      arguments: structure, shapes and types of (space, refiner, data).
      config: the settings of JAX that change what is compiled.
      stopping: None where all members train to the end and keep their last weights.
      replicates: folds and seeds; None where a member is one training.
      past: rounds that were run before, where a sweep goes on. anew: whether the refiner then
        forgets what it remembers.
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

    @property
    def sign(self) -> float:
        """1 where a higher metric is better, else -1; scores are the metric times it."""
        return 1.0 if self.mode == "max" else -1.0


def describe(tree: PyTree) -> Any:
    """A pytree's structure, shapes and types, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), str(_dtype(leaf))) for leaf in leaves)


def as_arrays(tree: PyTree) -> PyTree:
    """Plain numbers (a refiner's factor, say) as arrays of the program's types."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            return leaf
        array = np.asarray(leaf)
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))

    return jax.tree.map(convert, tree)


def jax_config() -> tuple[Any, ...]:
    """The settings of JAX that change what is compiled."""
    names = (
        "jax_enable_x64",
        "jax_default_matmul_precision",
        "jax_threefry_partitionable",
        "jax_numpy_rank_promotion",
        "jax_debug_nans",
    )
    device = str(getattr(jax.config, "jax_default_device"))  # noqa: B009 (unknown to the types)
    return (*(getattr(jax.config, name) for name in names), device, jax.default_backend())


def data_rows(data: Data | None) -> tuple[int, int] | None:
    """(training rows, validation rows)."""
    return None if data is None else (data.train_rows, data.valid_rows)


def _dtype(leaf: Any) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
