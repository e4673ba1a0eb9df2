"""Known answers: test functions as learners without data, by generations and by Optuna alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import one_by_one
import optuna

import vtune as vt

REFERENCE = (11.0, 11.0)  # of ZDT's hypervolumes


@dataclass(frozen=True)
class Function:
    """A function of numbers in a box, to be minimised.

    Attributes:
      value: a list of numbers -> its value, or values. Written for jax.numpy.
      low, high: of every number. least: the smallest value; None where there are several values.
    """

    value: Callable[[list[Any]], Any]
    low: tuple[float, ...]
    high: tuple[float, ...]
    least: float | None = None

    @property
    def space(self) -> dict[str, Any]:
        ends = zip(self.low, self.high, strict=True)
        return {f"x{i}": vt.Float(low, high) for i, (low, high) in enumerate(ends)}

    def values(self, h: Any) -> tuple[Any, ...]:
        value = self.value([h[name] for name in self.space])
        return value if isinstance(value, tuple) else (value,)

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("f",) if self.least is not None else ("f1", "f2")

    def learner(self) -> vt.Learner:
        """Trains nothing: its one step leaves the values as they are."""
        return vt.Learner(
            init=lambda key, h, batch: jnp.stack(self.values(h)),
            step=lambda key, h, values, batch: (values, {}),
            measure=lambda key, h, values, batch, weight: values,
            score=lambda totals: dict(zip(self.metrics, totals, strict=True)),
        )


def branin(x: list[Any]) -> Any:
    """Dixon and Szegö 1978."""
    a, b = x
    bend = b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6
    return bend**2 + 10 * (1 - 1 / (8 * np.pi)) * jnp.cos(a) + 10


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(x: list[Any]) -> Any:
    """Of six numbers (Dixon and Szegö 1978)."""
    inner = [
        sum(a * (own - p) ** 2 for own, a, p in zip(x, near, at, strict=True))
        for near, at in zip(_A, _P, strict=True)
    ]
    return -sum(alpha * jnp.exp(-own) for alpha, own in zip(_ALPHA, inner, strict=True))


def zdt(number: int) -> Callable[[list[Any]], Any]:
    """The first three of Zitzler, Deb and Thiele 2000."""

    def value(x: list[Any]) -> Any:
        f1 = x[0]
        g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
        ratio = f1 / g
        h = 1 - (ratio**2 if number == 2 else jnp.sqrt(ratio))
        if number == 3:
            h = h - ratio * jnp.sin(10 * np.pi * f1)
        return f1, g * h

    return value


FUNCTIONS = {
    "Branin": Function(branin, (-5.0, 0.0), (10.0, 15.0), 0.397887),
    "Hartmann-6": Function(hartmann, (0.0,) * 6, (1.0,) * 6, -3.32237),
    **{f"ZDT{n}": Function(zdt(n), (0.0,) * 30, (1.0,) * 30) for n in (1, 2, 3)},
}


@dataclass(frozen=True)
class Sampler:
    """One of Optuna's, and how many trials of which functions it is given."""

    make: Callable[[int], Any]
    size: int
    generations: int
    functions: tuple[str, ...] = ("Branin", "Hartmann-6")


def tpe(size: int) -> Sampler:
    return Sampler(lambda seed: optuna.samplers.TPESampler(seed=seed), size, 256 // size)


def cma_es(size: int) -> Sampler:
    make = lambda seed: optuna.samplers.CmaEsSampler(seed=seed, popsize=size)
    return Sampler(make, size, 256 // size)


def gp(size: int, startup: int = 10) -> Sampler:
    """By default it draws ten trials at random, and Halton's count."""
    make = lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    return Sampler(make, size, 48 // size)


def nsga(size: int) -> Sampler:
    make = lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=size)
    return Sampler(make, size, 320 // size, ("ZDT1", "ZDT2", "ZDT3"))


SAMPLERS = {  # large generations and small ones
    "TPE": (tpe(32), tpe(8)),
    "CMA-ES": (cma_es(16), cma_es(8)),
    "GP": (gp(8), gp(4, startup=4)),
    "NSGA-II": (nsga(32),),
}


def hypervolume(points: np.ndarray) -> float:
    """The area that points [n, 2] dominate within the reference, both to be minimised."""
    area, above = 0.0, REFERENCE[1]
    for a, b in points[np.lexsort(points.T[::-1])]:
        if a < REFERENCE[0] and b < above:
            area += (REFERENCE[0] - a) * (above - b)
            above = b
    return area


def quality(function: Function, points: np.ndarray) -> float:
    """The least value [n, 1], or the hypervolume of values [n, 2]."""
    return float(points.min()) if function.least is not None else hypervolume(points)


def by_generations(name: str, sampler: Sampler, seed: int) -> float:
    function = FUNCTIONS[name]
    metrics = function.metrics
    several = len(metrics) > 1
    sweep = vt.tune(
        learner_of(name),
        function.space,
        search=vt.Generations(
            sampler.make(seed), size=sampler.size, generations=sampler.generations
        ),
        metric=metrics if several else metrics[0],
        mode=("min",) * len(metrics) if several else "min",
        steps=1,
        seed=seed,
        progress=False,
    )
    points = np.stack([sweep.history[metric][-1] for metric in metrics], axis=1)
    return quality(function, points.astype(float))


_LEARNERS: dict[str, vt.Learner] = {}


def learner_of(name: str) -> vt.Learner:
    """The same for every seed, so that its programs are."""
    return _LEARNERS.setdefault(name, FUNCTIONS[name].learner())


def alone(name: str, sampler: Sampler, seed: int) -> float:
    """As many trials, one by one."""
    function = FUNCTIONS[name]
    asked, points = one_by_one.distributions(function.space), []
    study = optuna.create_study(
        directions=["minimize"] * len(function.metrics), sampler=sampler.make(seed)
    )
    for _ in range(sampler.size * sampler.generations):
        trial = study.ask(asked)
        points.append([float(value) for value in function.values(trial.params)])
        study.tell(trial, points[-1])
    return quality(function, np.array(points))


def rows(names: list[str], seeds: int) -> list[str]:
    """The table: medians and quartiles over the seeds."""
    lines = [
        "| sampler, trials | function | by generations | Optuna, one by one | within its spread |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        for sampler, function in [(s, f) for s in SAMPLERS[name] for f in s.functions]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ours, theirs = (
                        np.array([run(function, sampler, seed) for seed in range(seeds)])
                        for run in (by_generations, alone)
                    )
            except ImportError as error:
                lines.append(f"| {name} | {function} | not run: {error} | | |")
                continue
            lines.append(row(name, sampler, function, ours, theirs))
            print(lines[-1], flush=True)
    return lines


def row(name: str, sampler: Sampler, function: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    """A line; "within" says whether our median is no worse than the worse quartile of theirs."""
    least = FUNCTIONS[function].least is not None
    sign = 1 if least else -1
    shown = lambda q: f"{q[1]:.4g} ({q[0]:.4g} to {q[2]:.4g})"
    own, other = (np.quantile(values, [0.25, 0.5, 0.75]) for values in (ours, theirs))
    within = sign * own[1] <= sign * other[2 if least else 0]
    return (
        f"| {name}, {sampler.generations} × {sampler.size} | {function} | {shown(own)} | "
        f"{shown(other)} | {'yes' if within else 'no'} |"
    )
