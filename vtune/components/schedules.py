"""Learning-rate schedules whose numbers may all be traced hyperparameters.

Optax's schedules compare their arguments in Python and reject traced ones. These never branch on a
value; with plain numbers they give Optax's values at every step. Each returns a function step ->
value for any Optax optimizer:

    optax.adamw(vt.schedules.cosine(h["lr"], h["total_steps"], warmup=h["warmup"]))

Arguments they share:
  peak: the value after the warm-up.
  steps: number of steps of the schedule, such as `h["total_steps"]`; the last value stays
    afterwards.
  warmup: share of the steps, 0 to 1, in which the value rises linearly from `start`. It need not be
    a whole number of steps.
  start, end: the first and the last value, in the unit of `peak`.
All raise ValueError or TypeError for plain numbers outside their range; traced ones are bounded by
their space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from vtune.types import Array

Curve = Callable[[Any], Array]  # step -> value


def cosine(peak: Any, steps: Any, *, warmup: Any = 0.0, start: Any = 0.0, end: Any = 0.0) -> Curve:
    """Returns a cosine decay from `peak` to `end` after a warm-up (Loshchilov and Hutter 2017)."""
    falling = lambda t: end + (peak - end) * 0.5 * (1 + jnp.cos(jnp.pi * t))
    return _warmed("cosine", falling, peak, steps, warmup, start, end)


def linear(peak: Any, steps: Any, *, warmup: Any = 0.0, start: Any = 0.0, end: Any = 0.0) -> Curve:
    """Returns a linear decay from `peak` to `end` after a warm-up."""
    falling = lambda t: end + (peak - end) * (1 - t)
    return _warmed("linear", falling, peak, steps, warmup, start, end)


def polynomial(
    peak: Any,
    steps: Any,
    *,
    power: Any = 2.0,
    warmup: Any = 0.0,
    start: Any = 0.0,
    end: Any = 0.0,
) -> Curve:
    """Returns a decay by (1 - t)^power from `peak` to `end`, t from 0 to 1, after a warm-up."""
    _check("polynomial", power=(power, 0, None))
    # Avoids the infinite gradient of 0^power; the value 0 stays 0.
    shape = lambda t: jnp.where(t < 1, jnp.maximum(1 - t, 1e-30) ** power, 0.0)
    falling = lambda t: end + (peak - end) * shape(t)
    return _warmed("polynomial", falling, peak, steps, warmup, start, end)


def exponential(
    peak: Any,
    steps: Any,
    *,
    decay: Any = 0.1,
    warmup: Any = 0.0,
    start: Any = 0.0,
    end: Any = 0.0,
) -> Curve:
    """Returns the decay peak * decay^t, t from 0 to 1, after a warm-up; never below `end`."""
    _check("exponential", decay=(decay, 0, None))
    falling = lambda t: jnp.maximum(peak * jnp.asarray(decay, float) ** t, end)
    return _warmed("exponential", falling, peak, steps, warmup, start, end)


def constant(peak: Any, steps: Any, *, warmup: Any = 0.0, start: Any = 0.0) -> Curve:
    """Returns the constant `peak` after a warm-up."""
    return _warmed("constant", lambda t: peak, peak, steps, warmup, start, 0.0)


def _warmed(
    who: str,
    falling: Callable[[Array], Any],
    peak: Any,
    steps: Any,
    warmup: Any,
    start: Any,
    end: Any,
) -> Curve:
    """Returns a schedule that rises to `peak` and then follows `falling`, a function of t."""
    _check(
        who,
        peak=(peak, None, None),
        steps=(steps, 1, None),
        warmup=(warmup, 0, 1),
        start=(start, None, None),
        end=(end, None, None),
    )

    def value(step: Any) -> Array:
        rising, t = _phase(step, steps, warmup)
        return jnp.where(rising < 1, start + (peak - start) * rising, falling(t))

    return value


def _phase(step: Any, steps: Any, warmup: Any) -> tuple[Array, Array]:
    """Returns (share of the warm-up that is over, share of the rest that is over), 0 to 1."""
    step = jnp.asarray(step, float)
    warm = jnp.asarray(warmup * steps, float)
    rest = steps - warm
    rising = jnp.where(warm > 0, step / jnp.where(warm > 0, warm, 1.0), 1.0)
    over = (step - warm) / jnp.where(rest > 0, rest, 1.0)
    return jnp.minimum(rising, 1.0), jnp.clip(jnp.where(rest > 0, over, 1.0), 0.0, 1.0)


def _check(who: str, **ranges: tuple[Any, Any, Any]) -> None:
    """Raises if a plain number is outside its range; traced ones have no value yet."""
    for name, (value, low, high) in ranges.items():
        if callable(value) or isinstance(value, str | bool) or value is None:
            raise TypeError(f"schedules.{who}: {name}={value!r} is not a number")
        if not isinstance(value, int | float):
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"{low} or more" if high is None else f"from {low} to {high}"
            hint = " (a part of the steps, not their number)" if name == "warmup" else ""
            raise ValueError(f"schedules.{who}: {name}={value!r} must be {bounds}{hint}")
