"""A run that is killed goes on in another process to the same bits; SIGTERM ends it well.

`scripts/kill.py` does it for sweeps of every kind, as often as one likes.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path, monkeypatch):
    """The last process is this one."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import kill

    seen = kill.killed(kill.QUICK, jax.device_count(), 2, random.Random(0), tmp_path)
    assert 0 < seen[0] < seen[1] < kill.ROUNDS
    assert kill.sweep(kill.QUICK, str(tmp_path / "run")) == kill.sweep(kill.QUICK, None)


TERMINATED = """
import os, signal, sys
import vtune as vt, jax.numpy as jnp
from vtune.tuning.checkpoints import keeper

learner = vt.Learner(
    init=lambda key, h, batch: jnp.ones(()),
    step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
    measure=lambda key, h, x, batch, weight: x**2,
    score=lambda total: {"loss": total},
)
segment = keeper.Keeper.segment

def asking(self, standing):
    os.kill(os.getpid(), signal.SIGTERM)
    return segment(self, standing)

keeper.Keeper.segment = asking
space = {"lr": vt.Float(0.1, 0.5)}
vt.tune(learner, space, search=vt.Halton(2), steps=9, rounds=9, checkpoint=sys.argv[1])
print("not reached")
"""


@pytest.mark.slow
def test_sigterm_ends_the_process_when_a_checkpoint_is_written(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path)], env=env, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGTERM, done.stderr  # a shell says 143
    assert "not reached" not in done.stdout
    assert "interrupted: 1 of 9 rounds were run" in done.stderr
    assert [path.name for path in (tmp_path / "vtune-checkpoints").iterdir()] == ["1"]
