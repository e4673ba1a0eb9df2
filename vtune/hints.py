"""What a user would want to know, said once and on one line."""

from __future__ import annotations

import functools
import logging

import jax

from vtune.layout import cores

LOG = logging.getLogger("vtune")


def idle_cores(members: int) -> None:
    """Says how to use the other cores, where a population runs on one CPU device."""
    if jax.default_backend() == "cpu" and jax.local_device_count() == 1 and members > 1:
        _say_idle_cores(cores())


def many_combinations(count: int, seconds: float) -> None:
    """Says how long many structural combinations will take to compile."""
    LOG.warning(
        "vtune: %d structural combinations are compiled into one program, which takes about %d s "
        "to compile the first time; numbers that set no shape compile nothing as vt.Ordinal or "
        "vt.Float",
        count,
        max(1, round(seconds)),
    )


@functools.cache
def _say_idle_cores(there: int) -> None:
    if there > 1:
        LOG.warning(
            "vtune: this population runs on one of %d CPU cores; call vt.use_all_cores() first of "
            "all, before JAX starts, to use them all",
            there,
        )
