"""Time to the first result where nothing is compiled yet, in a process of its own.

    python scripts/benchmarks/cold.py alone CNN    one member by a plain loop: trained and scored
    python scripts/benchmarks/cold.py one CNN      one member by vtune: trained and scored
    python scripts/benchmarks/cold.py sweep CNN    all of them, up to their first scores

Prints the seconds from the end of the imports on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any


def alone(work: Any) -> None:
    """One member by a loop of jitted steps, and its score."""
    import jax
    import jax_peers
    import numpy as np
    import optax

    init, step = jax_peers.functions(work)
    x, y = jax_peers.batches(work)
    jitted = jax.jit(step, donate_argnums=1)
    state = jax.jit(init)(jax.random.key(0))
    for i in range(work.steps):
        state, _ = jitted(np.float32(1e-3), state, (x[i], y[i]))

    @jax.jit
    def score(state: Any, x: Any, y: Any) -> Any:
        params, other, _ = state
        mode = dict.fromkeys(work.mode, False)
        out = work.model.apply({"params": params, **other}, x, **mode)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    float(score(state, x[0], y[0]))


def one(work: Any) -> None:
    """A population of one."""
    import ours

    ours.tuned(dataclasses.replace(work, members=1))[0]()


def sweep(work: Any) -> None:
    """The whole population, up to its first scores: after a tenth of what the one trains."""
    import ours

    ours.tuned(dataclasses.replace(work, steps=max(1, work.steps // 10)))[0]()


def measured(name: str, quick: bool) -> dict[str, float]:
    """Seconds to the first result: of one member by a plain loop and by vtune, of a sweep, and of
    the sweep in a second process.

    Args:
      quick: little work in this process, the sweep once, which only shows that the code runs.
    """
    if quick:
        times = {what: timed(what, name, quick) for what in ("alone", "one", "sweep")}
        first = times.pop("sweep")
        return {**times, "first": first, "second": first}
    own = {"VTUNE_CACHE_DIR": "off"}
    with tempfile.TemporaryDirectory() as folder:
        kept = {"VTUNE_CACHE_DIR": folder}
        return {
            "alone": in_process("alone", name, own),
            "one": in_process("one", name, own),
            "first": in_process("sweep", name, kept),
            "second": in_process("sweep", name, kept),
        }


def timed(what: str, name: str, quick: bool = False) -> float:
    """Seconds that one of the runs takes in this process."""
    import workloads

    runs: dict[str, Callable[[Any], None]] = {"alone": alone, "one": one, "sweep": sweep}
    work = workloads.WORKLOADS[name]
    work = work.little() if quick else work
    start = time.perf_counter()
    runs[what](work)
    return time.perf_counter() - start


def in_process(what: str, name: str, env: dict[str, str], quick: bool = False) -> float:
    """Seconds that one of the runs takes in a process of its own."""
    command = [sys.executable, __file__, what, name, *(["--quick"] if quick else [])]
    done = subprocess.run(
        command, env={**os.environ, **env}, check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    import jax

    import vtune as vt

    vt.use_all_cores()
    jax.devices()
    what, name, *quick = sys.argv[1:]
    print(json.dumps(timed(what, name, bool(quick))))


if __name__ == "__main__":
    main()
