"""NSGA-II (Deb, Agrawal, Pratap and Meyarivan 2002) on members that go on training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.metrics.modes import usual_mode
from vtune.refine.base import STATIC, Refinement, Rung, no_memory
from vtune.refine.domination import alive, best_first
from vtune.refine.exploit import bottom_count, check_timing, is_due, ranks
from vtune.refine.explore import choose
from vtune.returned import check_real
from vtune.space.traced import from_scale, is_stepped, neighbour, to_unit
from vtune.types import Array, Key, PyTree, float_dtype
from vtune.validation import as_floats, check_between, check_call, check_size

MOST = 16_384  # members of a cohort, of whom every pair is compared
CROSSED = 0.5  # part of the hyperparameters of crossed parents that are, as in the authors' code


@dataclass(frozen=True)
class Violation:
    """How much a member violates constraints: the sum of those values that are above 0."""

    constraints: Callable[[Any], Any]

    def __call__(self, metrics: Any) -> Array:
        values = self.constraints(metrics)
        for value in jax.tree.leaves(values) or [None]:
            check_real("the constraints of NSGA2", value, "one real number or several")
        return sum((jnp.sum(jnp.maximum(v, 0)) for v in jax.tree.leaves(values)), jnp.zeros(()))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NSGA2:
    """NSGA-II: a population that spreads along the Pareto front of several metrics.

        every perturbation_interval rounds, from burn_in_period on:
          rank the members by non-domination, those of one front by how crowded it is there
          the worst quantile takes each the place behind the winner of a binary tournament among
          the others: its weights, its optimizer state, and hyperparameters crossed (SBX) with
          those of a second winner and mutated (polynomial)

    Crossover and mutation work on the scales of the space: logarithmic where `log=True`. A mutated
    `Int`, `Ordinal` or `Float` with steps moves by one value at least. Members that diverged or
    have a metric that is not finite rank last and are never copied. Structural hyperparameters do
    not change, so cohorts are ranked apart.

    Args:
      metrics: names of two or more recorded metrics, those of `sweep.history`, each with "max" or
        "min": {"accuracy": "max", "loss": "min"}.
      perturbation_interval, burn_in_period: as in `PBT`.
      quantile_fraction: part of a cohort that is replaced; rounded up, at most half.
      crossover_prob: of crossing the hyperparameters of a member with a second one's.
      mutation_prob: of mutating a hyperparameter; 1 over their number when left out.
      eta: distribution index of crossover and mutation; the larger, the nearer to the parents.
      constraints: a function of a member's metrics by name that returns one number or several,
        which violate where they are above 0, as Optuna's do. Members that violate nothing rank
        first, the others by the sum of what they violate (Deb's constrained domination).

    All but the first and the last are traced: other numbers compile nothing.

    Raises:
      TypeError, ValueError: an argument is outside its range, a metric is not recorded, or a cohort
        has one member.

    Examples:
      >>> NSGA2({"accuracy": "max", "loss": "min"}).objectives
      (('accuracy', 'max'), ('loss', 'min'))
    """

    metrics: Any = field(metadata=STATIC)
    perturbation_interval: Any = 1
    burn_in_period: Any = 0
    quantile_fraction: Any = 0.25
    crossover_prob: Any = 0.9
    mutation_prob: Any = None
    eta: Any = 20.0
    constraints: Any = field(default=None, metadata=STATIC)

    init = no_memory

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", _checked_metrics(self.metrics))
        check_timing("NSGA2", self)
        check_between("NSGA2", "crossover_prob", self.crossover_prob, 0, 1)
        if self.mutation_prob is not None:
            check_between("NSGA2", "mutation_prob", self.mutation_prob, 0, 1)
        check_between("NSGA2", "eta", self.eta, 0, 1e6)
        if self.constraints is not None:
            check_call("NSGA2: constraints", self.constraints, "metrics")
        as_floats(self, "quantile_fraction", "crossover_prob", "mutation_prob", "eta")

    @property
    def objectives(self) -> tuple[tuple[Any, str], ...]:
        """The metrics, and what is violated of the constraints; see `Refiner`."""
        if self.constraints is None:
            return self.metrics
        return (*self.metrics, (Violation(self.constraints), "min"))

    @property
    def first_round(self) -> int:
        """The first round before which it acts."""
        return max(self.burn_in_period, self.perturbation_interval)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns one rung, see `Refiner.rungs`."""
        check_size("NSGA2", size, 2, "one to take another's place")
        if size > MOST:
            raise ValueError(f"NSGA2 takes at most {MOST} members a cohort; this one has {size}")
        return (Rung(size, rounds),)

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns parents and their offspring's hyperparameters, see `Refiner.refine`.

        Args:
          score: [pop, objectives].
        """
        size = score.shape[0]
        slots = jnp.arange(size, dtype=jnp.int32)
        order, there = self._best_first(score), alive(score)
        place = ranks(order)
        draws = draw(key, space, place)
        count = bottom_count(size, self.quantile_fraction)
        others = jnp.minimum(size - count, jnp.sum(there))
        replaced = (place >= size - count) & (others > 0) & is_due(self, round)
        first, second = _winners(draws.rivals, order, others)
        parents = jnp.where(replaced, first, slots)
        inherited = {name: values[parents] for name, values in hparams.items()}
        partner = {name: values[second] for name, values in hparams.items()}
        crosses = draws.crosses < self.crossover_prob
        chance = 1 / max(len(space), 1) if self.mutation_prob is None else self.mutation_prob
        new = {}
        for name, values in inherited.items():
            own, distribution = draws.each[name], space[name]
            child = crossed(own, distribution, values, partner[name], self.eta)
            child = jnp.where(crosses & (own.takes < CROSSED), child, values)
            mutant = mutated(own, distribution, child, self.eta)
            new[name] = jnp.where(own.mutates < chance, mutant, child)
        return Refinement(parents, choose(replaced, new, inherited)), memory

    def _best_first(self, score: Array) -> Array:
        if self.constraints is None:
            return best_first(score)
        return best_first(score[:, :-1], -score[:, -1])  # not known, it is infinite


class Own(NamedTuple):
    """Random numbers in [0, 1) of one hyperparameter of every slot, each [pop]."""

    takes: Array
    spread: Array
    swaps: Array
    mutates: Array
    moves: Array


class Draws(NamedTuple):
    """Random numbers in [0, 1) of one round.

    Attributes:
      rivals: [2 parents, 2, pop] who meet in the tournaments. crosses: [pop]. each: by name.
    """

    rivals: Array
    crosses: Array
    each: dict[str, Own]


def draw(key: Key, space: PyTree, place: Array) -> Draws:
    """Draws the random numbers of one round. They belong to ranks, not to slots."""
    names, own = sorted(space), len(Own._fields)
    u = jax.random.uniform(key, (5 + own * len(names), place.shape[0]), float_dtype())[:, place]
    each = {name: Own(*u[5 + own * i : 5 + own * (i + 1)]) for i, name in enumerate(names)}
    return Draws(u[:4].reshape(2, 2, -1), u[4], each)


def _winners(rivals: Array, order: Array, others: Array) -> Array:
    """Returns [2, pop] for every slot the winners of two tournaments among the best `others`."""
    drawn = jnp.clip((rivals * others).astype(jnp.int32), 0, jnp.maximum(others - 1, 0))
    return order[jnp.min(drawn, axis=1)]


def crossed(own: Own, distribution: Any, first: Array, second: Array, eta: Any) -> Array:
    """Returns children of two parents' values by simulated binary crossover (Deb, Agrawal 1995)."""
    a, b = to_unit(distribution, first), to_unit(distribution, second)
    spread = _spread(own.spread, eta)
    spread = jnp.where(own.swaps < 0.5, -spread, spread)  # near the second parent
    child = from_scale(distribution, (a + b + spread * (a - b)) / 2)
    return jnp.where(first == second, first, child.astype(first.dtype))


def mutated(own: Own, distribution: Any, values: Array, eta: Any) -> Array:
    """Returns values after polynomial mutation (Deb, Goyal 1996)."""
    u, power = own.moves, 1 / (eta + 1)
    up = u >= 0.5
    step = jnp.where(up, 1 - (2 * (1 - u)) ** power, (2 * u) ** power - 1)
    moved = from_scale(distribution, to_unit(distribution, values) + step).astype(values.dtype)
    if is_stepped(distribution):
        moved = jnp.where(moved == values, neighbour(distribution, values, up), moved)
    return moved


def _spread(u: Array, eta: Any) -> Array:
    """Returns how far two children are apart, over how far their parents are."""
    inside, outside = 2 * u, 1 / (2 * (1 - u))
    return jnp.where(u <= 0.5, inside, outside) ** (1 / (eta + 1))


def _checked_metrics(metrics: Any) -> tuple[tuple[str, str], ...]:
    """Returns pairs of a metric's name and its mode."""
    if isinstance(metrics, Mapping):
        metrics = tuple(metrics.items())
    pairs = metrics if isinstance(metrics, tuple | list) else ()
    if not pairs or not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
        raise TypeError(
            f"NSGA2: metrics={metrics!r} must name two or more metrics, each with its mode, such "
            f"as {_suggested(metrics)}"
        )
    names = [name for name, _ in pairs]
    for name, mode in pairs:
        if not isinstance(name, str):
            raise TypeError(f"NSGA2: {name!r} is not the name of a metric")
        if mode not in ("max", "min"):
            raise ValueError(
                f'NSGA2: {name!r} has the mode {mode!r}; write "max" (higher is better) or "min"'
            )
    if len(set(names)) < len(names):
        raise ValueError(f"NSGA2: metrics={metrics!r} names a metric twice")
    if len(names) < 2:
        raise ValueError(
            f"NSGA2: {names[0]!r} alone is one metric; name two or more, or write "
            f"vt.PBT() and vt.tune(..., metric={names[0]!r})"
        )
    return tuple((name, mode) for name, mode in pairs)


def _suggested(metrics: Any) -> dict[str, str]:
    """What was meant by names without modes."""
    names = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        names = ()
    found = {name: usual_mode(name) or "max" for name in names}
    return found if len(found) > 1 else {"accuracy": "max", "loss": "min"}
