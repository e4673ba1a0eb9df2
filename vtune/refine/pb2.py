"""Population-based bandits (Parker-Holder et al. 2020)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.refine.base import STATIC, Refinement, Rung, rank
from vtune.refine.exploit import TRUNCATION, check_schedule, exploit, is_due
from vtune.refine.explore import choose
from vtune.refine.gp import Kernel, Observations, condition, log_likelihood, posterior
from vtune.space.traced import from_unit, to_unit
from vtune.types import Array, Key, PyTree, float_dtype
from vtune.validation import as_floats, check_size, check_whole

# Grid of the kernel's parameters; y has variance 1 and x lies in the unit cube.
LENGTHSCALES, EPSILONS, NOISES = (0.03, 0.1, 0.3, 1.0), (0.0, 0.1, 0.3), (0.03, 0.1, 0.3)
MOST = 46_340  # points, whose covariances are as many squared; 32 bits count no more
UNKNOWN = -(2.0**127)  # no score, finite so that neither jax_debug_nans nor jax_debug_infs minds it
C1, C2 = 0.2, 0.4  # beta = C1 + max(0, log(C2 * observations)), as in the authors' code


class Memory(NamedTuple):
    """PB2's observations so far, in a ring buffer.

    Attributes:
      x: [rows, dims] hyperparameters on their unit scales.
      t: [rows] the number of the perturbation.
      y: [rows] improvement of the score.
      count: how many rows were ever written.
      start: [pop] every slot's score when it got its present hyperparameters; `UNKNOWN` at first.
    """

    x: Any
    t: Any
    y: Any
    count: Any
    start: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PB2:
    """PBT whose new hyperparameters are chosen by a Gaussian process instead of at random.

        every perturbation_interval rounds, from burn_in_period on:
          observe how much every slot's score improved with its hyperparameters
          exploit, as in PBT
          for each slot that copied another, one after the other:
            choose the hyperparameters with the largest upper bound mean + sqrt(beta) sd of the
            expected improvement; count them as observed, which lowers the sd around them

    The process drifts over time: its kernel is variance * exp(-|x - x'|^2 / l) *
    (1 - epsilon)^(|t - t'| / 2), for hyperparameters on their unit scales and standardised
    improvements. l, epsilon and the noise maximise the marginal likelihood on a grid of 36. The
    upper bound is maximised over `candidates`, of which half are uniform and half near the copied
    members. Before any improvement is observed the bound is equal everywhere, and the choices are
    random and spread out. Structural hyperparameters do not change.

    Args:
      perturbation_interval, burn_in_period, quantile_fraction, exploit: as in `PBT`.
      observations: number of latest observations to remember, at least one a slot. Static.
      candidates: number of points among which the bound is maximised. Static.

    Raises:
      TypeError, ValueError: a number is outside its range, a cohort has one member, or a cohort
        has no traced hyperparameters.
    """

    perturbation_interval: Any = 1
    burn_in_period: Any = 0
    quantile_fraction: Any = 0.25
    exploit: Any = field(default=TRUNCATION, metadata=STATIC)
    observations: Any = field(default=128, metadata=STATIC)
    candidates: Any = field(default=512, metadata=STATIC)

    def __post_init__(self) -> None:
        check_schedule("PB2", self)
        check_whole("PB2", "observations", self.observations, 1, MOST)
        check_whole("PB2", "candidates", self.candidates, 2, MOST)
        as_floats(self, "quantile_fraction")

    @property
    def first_round(self) -> int:
        """The first round before which it acts."""
        return max(self.burn_in_period, self.perturbation_interval)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns one rung, see `Refiner.rungs`."""
        check_size("PB2", size, 2, "one to take another's place")
        if size > MOST:
            raise ValueError(f"PB2 takes at most {MOST} members a cohort; this one has {size}")
        return (Rung(size, rounds),)

    def init(self, space: PyTree, size: int) -> PyTree:
        """Returns the empty `Memory`; raises ValueError without traced hyperparameters."""
        if not space:
            raise ValueError(
                "PB2: no traced hyperparameters to choose; give the space a vt.Float, vt.Int or "
                "vt.Ordinal, or use vt.PBT()"
            )
        rows = max(self.observations, size)
        zeros = lambda *shape: jnp.zeros(shape, float_dtype())
        start = jnp.full(size, UNKNOWN, float_dtype())
        return Memory(zeros(rows, len(space)), zeros(rows), zeros(rows), jnp.int32(0), start)

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns parents and chosen hyperparameters, see `Refiner.refine`."""
        slots = jnp.arange(score.shape[0], dtype=jnp.int32)

        def act(memory: Memory) -> Any:
            k_exploit, k_candidates = jax.random.split(key)
            time = round / jnp.asarray(self.perturbation_interval, float_dtype())
            order, x = rank(score), _units(space, hparams)
            memory = _observe(memory, x, time, score, order)
            u = jax.random.uniform(k_exploit, score.shape, float_dtype())
            parents = exploit(self.exploit, u, score, self.quantile_fraction)
            near = x[parents[order]]  # by rank, so that the slots' order does not matter
            points = _candidates(k_candidates, near, self.candidates)
            turns = order[::-1]  # the worst chooses first
            chosen = _batch(memory, points, time, (parents != slots)[turns])
            unit = points[jnp.zeros_like(chosen).at[turns].set(chosen)]  # by slot
            inherited = {name: values[parents] for name, values in hparams.items()}
            new = {
                name: from_unit(space[name], unit[:, i]).astype(hparams[name].dtype)
                for i, name in enumerate(sorted(space))
            }
            decided = choose(parents != slots, new, inherited)
            return parents, decided, memory._replace(start=score[parents])

        stay = lambda memory: (slots, hparams, memory)
        parents, decided, memory = lax.cond(is_due(self, round), act, stay, memory)
        return Refinement(parents, decided), memory


def _units(space: PyTree, hparams: PyTree) -> Array:
    """Returns hyperparameters on their unit scales, [pop, dims], in the order of their names."""
    columns = [to_unit(space[name], hparams[name]) for name in sorted(space)]
    return jnp.stack(columns, axis=1).astype(float_dtype())


def _observe(memory: Memory, x: Array, time: Array, score: Array, order: Array) -> Memory:
    """Writes the finite improvements into the ring buffer, those of the best slots first."""
    gain = (score - memory.start)[order]
    valid = jnp.isfinite(gain) & (memory.start != UNKNOWN)[order]
    rows = memory.y.shape[0]
    place = (memory.count + jnp.cumsum(valid) - 1) % rows
    place = jnp.where(valid, place, rows)  # out of range: not written
    return memory._replace(
        x=memory.x.at[place].set(x[order], mode="drop"),
        t=memory.t.at[place].set(time, mode="drop"),
        y=memory.y.at[place].set(gain, mode="drop"),
        count=memory.count + jnp.sum(valid, dtype=jnp.int32),
    )


def _candidates(key: Key, near: Array, count: int) -> Array:
    """Returns points [count, dims] of the unit cube: half uniform, half near `near` [pop, dims]."""
    k_anywhere, k_about = jax.random.split(key)
    dims = near.shape[1]
    anywhere = jax.random.uniform(k_anywhere, (count // 2, dims), float_dtype())
    rest = count - count // 2
    step = 0.1 * jax.random.normal(k_about, (rest, dims), float_dtype())
    about = near[jnp.arange(rest) % near.shape[0]] + step
    below = 1 - jnp.finfo(float_dtype()).eps
    return jnp.concatenate([anywhere, jnp.clip(about, 0, below)])


def _batch(memory: Memory, points: Array, time: Array, choosing: Array) -> Array:
    """Returns [pop] the index in `points` that each slot chooses, one slot after the other.

    Args:
      choosing: [pop] whether a slot chooses; if not, its index means nothing, and later slots do
        not see it.
    """
    seen = standardised(memory)
    kernel = fit(seen)
    times = jnp.full(points.shape[0], time, float_dtype())
    mean, covariance = posterior(kernel, seen, points, times)
    beta = C1 + jnp.maximum(0.0, jnp.log(C2 * jnp.maximum(jnp.sum(seen.mask), 1)))

    def choose_next(covariance: Array, chooses: Array) -> tuple[Array, Array]:
        sd = jnp.sqrt(jnp.maximum(jnp.diag(covariance), 0))
        point = jnp.argmax(mean + jnp.sqrt(beta) * sd)
        return jnp.where(chooses, condition(kernel, covariance, point), covariance), point

    return lax.scan(choose_next, covariance, choosing)[1]


def standardised(memory: Memory) -> Observations:
    """Returns the observations, y with mean 0 and variance 1 (all 0 where they are equal)."""
    mask = (jnp.arange(memory.y.shape[0]) < memory.count).astype(float_dtype())
    count = jnp.maximum(jnp.sum(mask), 1)
    centred = (memory.y - jnp.sum(memory.y * mask) / count) * mask
    sd = jnp.sqrt(jnp.sum(centred**2) / count)
    return Observations(memory.x, memory.t, centred / jnp.maximum(sd, 1e-8), mask)


def fit(seen: Observations) -> Kernel:
    """Returns the kernel with the largest marginal likelihood on a grid."""
    grid = jnp.array(list(itertools.product(LENGTHSCALES, EPSILONS, NOISES)), float_dtype())
    kernels = Kernel(jnp.ones(len(grid), float_dtype()), *grid.T)
    # Sequential: jaxlib's batched Cholesky deadlocks on a CPU with several devices, whose threads
    # wait for each other (seen with jaxlib 0.10.2).
    best = jnp.argmax(lax.map(lambda kernel: log_likelihood(kernel, seen), kernels))
    return jax.tree.map(lambda a: a[best], kernels)
