"""Distributions and numbers of other libraries as vtune's own, where they mean the same.

Distributions are known by the names of their modules and classes, so that none of the libraries is
imported: scipy.stats, Optuna, Ray Tune. What has no counterpart is refused by name.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from vtune.space.distributions import Categorical, Float, Int
from vtune.validation import plain_number

_OTHERS = ("hyperopt", "skopt", "ConfigSpace", "keras_tuner", "nevergrad")
_WRITE = (
    "write vt.Float(low, high), vt.Float(low, high, log=True), vt.Int(low, high), "
    "vt.Ordinal([...]) or vt.Categorical([...])"
)


def converted(what: str, value: Any) -> Any:
    """Returns the distribution that another library's means; every other value as it is.

    Args:
      what: the value as the message names it, such as "space['lr']".

    Raises:
      TypeError: it is another library's, and means none of vtune's.
    """
    module, names = type(value).__module__ or "", [kind.__name__ for kind in type(value).__mro__]
    if isinstance(value, Categorical):
        return Categorical([_number(choice) for choice in value.choices])
    if module.startswith("scipy.stats"):
        found = _of_scipy(what, value, names)
    elif module.startswith("optuna.distributions"):
        found = _of_optuna(value, names)
    elif module.startswith("ray.tune"):
        found = _of_ray(value, names)
    elif isinstance(value, dict) and list(value) == ["grid_search"]:  # what Ray's function returns
        found = Categorical(value["grid_search"])
    elif module.split(".")[0] in _OTHERS:
        found = None
    else:
        return _number(value)
    if found is None:
        raise TypeError(
            f"{what}: {_shown(value)} of {module.split('.')[0]} is no distribution of vtune's; "
            f"{_WRITE}"
        )
    return found


def _number(value: Any) -> Any:
    """Returns an exact or long number as a float, and what an array without axes holds; anything
    else as it is. A program takes none of them."""
    if isinstance(value, Fraction | Decimal | np.longdouble):
        return plain_number(value)
    if isinstance(value, np.ndarray) and not value.ndim and value.dtype.kind in "OSUmM":
        return value.item()
    return value


def _shown(value: Any) -> str:
    frozen: Any = getattr(value, "dist", None)  # scipy's say nothing of themselves
    return f"{frozen.name}(...)" if hasattr(frozen, "name") else type(value).__name__


def _of_scipy(what: str, value: Any, names: list[str]) -> Any:
    """Frozen distributions, and those of scipy's newer classes."""
    if "rv_generic" in names:
        raise TypeError(f"{what}: scipy.stats.{value.name} is called with no range; {_WRITE}")
    if not hasattr(value, "support"):
        return None
    kind = value.dist.name if hasattr(value, "dist") else type(value).__name__.lower()
    low, high = value.support()
    if kind == "uniform":
        return Float(float(low), float(high))
    moved = getattr(value, "kwds", {}).get("loc", [*getattr(value, "args", ()), 0, 0, 0][2])
    if kind in ("loguniform", "reciprocal") and moved == 0:
        return Float(float(low), float(high), log=True)
    if kind == "randint":
        return Int(int(low), int(high))
    return None


def _of_optuna(value: Any, names: list[str]) -> Any:
    if "FloatDistribution" in names:
        return Float(value.low, value.high, log=value.log, step=value.step)
    if "IntDistribution" in names:
        return Int(value.low, value.high, log=value.log, step=value.step)
    return Categorical(value.choices) if "CategoricalDistribution" in names else None


def _of_ray(value: Any, names: list[str]) -> Any:
    if "Categorical" in names:
        return Categorical(list(value.categories))
    sampler: Any = getattr(value, "sampler", None)
    step = None
    if type(sampler).__name__ == "Quantized":
        sampler, step = sampler.sampler, sampler.q
    kind = type(sampler).__name__.strip("_")
    log = kind.startswith("LogUniform")
    if not (log or kind.startswith("Uniform") or sampler is None):
        return None  # normal
    if log and step not in (None, 1):
        return None
    if "Float" in names:
        return None if log and step else Float(value.lower, value.upper, log=log, step=step)
    if "Integer" in names and step in (None, 1):
        return Int(value.lower, value.upper - 1, log=log)
    if "Integer" in names:  # with steps the upper end counts, too
        low, high = multiples(value.lower, value.upper, step)
        return Int(int(low), int(high), step=step)
    return None


def multiples(low: Any, high: Any, of: Any) -> tuple[Decimal, Decimal]:
    """Returns the first and the last multiple of a number inside a range."""
    step = Decimal(str(of))
    first = (Decimal(str(low)) / step).to_integral_value(ROUND_CEILING) * step
    last = (Decimal(str(high)) / step).to_integral_value(ROUND_FLOOR) * step
    return first, last
