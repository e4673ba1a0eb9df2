"""Refuses surroundings in which a sweep cannot run: several processes, a fork, no compiler, a
function that JAX traces."""

from __future__ import annotations

import os

import jax

from vtune.validation import check_untraced

_process: int | None = None  # the one that JAX was first used in


def check_surroundings(caller: str) -> None:
    """Raises RuntimeError where a sweep would fail, hang or be trained twice, or is traced.

    Args:
      caller: what the message names, such as "vt.tune".

    Raises:
      TypeError: it is called in a function that JAX traces.
    """
    global _process
    _process = _process or os.getpid()
    if os.getpid() != _process:
        raise RuntimeError(
            f"{caller}: this process was forked from one that had started JAX already, and would "
            'hang; start it with multiprocessing.get_context("spawn")'
        )
    if getattr(jax.config, "jax_disable_jit"):  # noqa: B009 (unknown to the types)
        raise RuntimeError(
            f"{caller}: a sweep is one compiled program, and jax_disable_jit is on; write `with "
            "jax.disable_jit(False):` around it. To debug a learner by hand, call learner.init and "
            "learner.step yourself with vt.member_key(0, 0); inside the program, jax.debug.print"
        )
    check_untraced(caller)
    check_one_process(caller)


def check_one_process(caller: str) -> None:
    """Raises RuntimeError under `jax.distributed`, where every process would do everything."""
    count = jax.process_count()
    if count > 1:
        raise RuntimeError(
            f"{caller}: {count} processes run under jax.distributed, which is not supported yet; "
            "start each alone, without jax.distributed.initialize, and give each a part of the "
            "settings (vt.Given) or another seed="
        )
