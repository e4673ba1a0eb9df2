"""The pinball loss: how good the forecast of a quantile is, or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable, documented, mean, targets
from vtune.metrics.regression import check_targets, one_array
from vtune.types import Array, Batch, Outputs, at_least_single
from vtune.validation import is_number


def _pinball_loss(alpha: Any = 0.5) -> Metric:
    alphas = _checked(alpha)
    several = not is_number(alpha)

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        if not several:
            check_targets(outputs, arrays)
            return
        target = targets("pinball_loss", arrays)
        given, each = list(one_array(outputs).shape[1:]), list(target.shape[1:])
        if given != [*each, len(alphas)]:
            raise ValueError(
                f"pinball_loss of {len(alphas)} quantiles: the model's outputs are {given} a row "
                f"and the targets batch['y'] {each}; return {[*each, len(alphas)]} a row, the "
                f"quantiles {alphas} on the last axis"
            )

    def loss(outputs: Outputs, batch: Batch) -> Array:
        short = (batch["y"][..., None] if several else batch["y"]) - at_least_single(outputs)
        levels = jnp.asarray(alphas if several else alphas[0], short.dtype)
        levels = levels.reshape((1,) * (short.ndim - levels.ndim) + levels.shape)
        return jnp.maximum(levels * short, (levels - 1) * short)

    return mean(loss, mode="min", check=check)


def _checked(alpha: Any) -> list[float]:
    """Returns the levels; raises TypeError or ValueError for what is none."""
    alphas = [alpha] if is_number(alpha) else alpha
    if isinstance(alphas, np.ndarray):
        alphas = alphas.tolist()
    if not isinstance(alphas, list | tuple) or not alphas or not all(map(is_number, alphas)):
        raise TypeError(
            f"pinball_loss: alpha={alpha!r} must be a number from 0 to 1, or a list of them: one "
            "for every quantile on the last axis of the outputs, such as [0.1, 0.5, 0.9]"
        )
    for level in alphas:
        if not 0 <= level <= 1:
            raise ValueError(
                f"pinball_loss: alpha={level!r} must be from 0 to 1; write the 90 % quantile as 0.9"
            )
    return [float(level) for level in alphas]


pinball_loss = documented(
    configurable(_pinball_loss),
    """Mean pinball loss of forecast quantiles, as scikit-learn's `mean_pinball_loss`; the mean over
    several quantiles (Koenker and Bassett 1978).

    A forecast that is too low by d costs alpha * d, one too high by d costs (1 - alpha) * d. Of
    the median it is half the mean absolute error.

        vt.metrics.pinball_loss(0.9)
        vt.metrics.pinball_loss([0.1, 0.5, 0.9])
        vt.metrics.pinball_loss(0.9, output=lambda out: out[..., 2])

    Args:
      alpha: the level of the quantile, 0 to 1, by default 0.5: outputs and targets `y` have one
        shape. Or a list of levels: outputs have one axis more, the last, with a quantile for each,
        such as outputs [rows, horizon, quantiles] for targets [rows, horizon].
    """,
)
