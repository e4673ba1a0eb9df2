"""The rank, scale and dropout of adapters: numbers, or functions of a member's hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.lora.errors import AdapterError
from vtune.types import Array
from vtune.validation import is_number, is_whole


@dataclass(frozen=True)
class Settings:
    """See `vt.lora.adapt`, whose arguments these are."""

    rank: Any
    alpha: Any = None
    dropout: Any = 0.0
    max_rank: int | None = None

    def check(self) -> None:
        """Raises TypeError or ValueError where a number is wrong; functions are asked later."""
        for name, value in (("rank", self.rank), ("alpha", self.alpha), ("dropout", self.dropout)):
            if not callable(value) and not (name == "alpha" and value is None):
                _CHECKS[name](value)
        if self.max_rank is not None:
            _check_rank("max_rank", self.max_rank)

    def width(self, h: Hparams) -> int:
        """Returns the columns of A: the rank, or the largest one where it is traced.

        Raises:
          AdapterError: a traced rank without `max_rank`, or a rank above it.
        """
        rank = self._rank(h)
        if not _is_array(rank):
            if self.max_rank is not None and rank > self.max_rank:
                raise AdapterError(f"vt.lora: rank={rank} is above max_rank={self.max_rank}")
            return int(rank)
        if self.max_rank is None:
            raise AdapterError(
                "vt.lora: rank is a traced hyperparameter, and shapes must be known; give "
                "max_rank=16, the columns that all members have, or make it structural by "
                "vt.Categorical([4, 8, 16])"
            )
        return self.max_rank

    def scale(self, h: Hparams, width: int, dtype: Any) -> Array:
        """Returns what multiplies each column [width]: alpha / rank, and 0 from the rank on.

        A traced rank outside 1 to `max_rank` gives NaN, which ends the member.
        """
        rank, alpha = self._rank(h), self._number("alpha", self.alpha, h)
        scale = jnp.asarray(1.0 if alpha is None else alpha / rank, dtype)
        scale = jnp.broadcast_to(scale, width)
        if not _is_array(rank):
            return scale
        possible = (rank >= 1) & (rank <= width)
        used = jnp.where(jnp.arange(width) < rank, scale, jnp.zeros_like(scale))
        return jnp.where(possible, used, jnp.full_like(scale, jnp.nan))

    def rate(self, h: Hparams) -> Any:
        """Returns the rate of dropout."""
        return self._number("dropout", self.dropout, h)

    def _rank(self, h: Hparams) -> Any:
        return self._number("rank", self.rank, h)

    def _number(self, name: str, given: Any, h: Hparams) -> Any:
        if not callable(given):
            return given
        with calling(name, h=h):
            value = given(h)
        if _is_array(value) and jnp.ndim(value) == 0:
            return value
        _CHECKS[name](value)
        return value


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array)


def _check_rank(name: str, value: Any) -> None:
    if not is_whole(value):
        raise TypeError(f"vt.lora: {name}={value!r} must be a whole number, 1 or more")
    if value < 1:
        raise ValueError(f"vt.lora: {name}={value!r} must be 1 or more")


def _check_alpha(value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"vt.lora: alpha={value!r} must be a number above 0; None is the rank")
    if not 0 < value < math.inf:
        raise ValueError(f"vt.lora: alpha={value!r} must be a finite number above 0")


def _check_rate(value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"vt.lora: dropout={value!r} must be a number from 0 to below 1")
    if not 0 <= value < 1:
        raise ValueError(
            f"vt.lora: dropout={value!r} must be from 0 to below 1, the share of entries dropped"
        )


_CHECKS = {
    "rank": lambda value: _check_rank("rank", value),
    "alpha": _check_alpha,
    "dropout": _check_rate,
}
