"""Refuses surroundings in which a sweep cannot run: a fork, no compiler, a function that JAX
traces, and several processes for what is not there for them."""

from __future__ import annotations

import os

import jax

from vtune.validation import check_untraced

_process: int | None = None  # the one that JAX was first used in


def check_surroundings(caller: str) -> None:
    """Raises RuntimeError where a sweep would fail or hang, or is traced.

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
    if jax.process_count() == 1:
        return
    if not jax.distributed.is_initialized():
        raise RuntimeError(
            f"{caller}: {jax.process_count()} processes share the devices, and cannot agree "
            "without a coordinator; call jax.distributed.initialize() at the start of the script"
        )
    if getattr(jax.config, "jax_debug_nans") or getattr(jax.config, "jax_debug_infs"):  # noqa: B009
        check_one_process(f"{caller} with jax_debug_nans or jax_debug_infs")


def check_one_process(caller: str, instead: str = "start one process alone for it") -> None:
    """Raises RuntimeError under `jax.distributed`, for what works in one process alone.

    Args:
      caller: what the message names. instead: what to do.
    """
    count = jax.process_count()
    if count > 1:
        raise RuntimeError(
            f"{caller}: {count} processes run under jax.distributed, and this is not there for "
            f"several; {instead}"
        )
