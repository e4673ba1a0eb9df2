"""Around the program: the compilation cache, and the hint at idle cores."""

import os
import subprocess
import sys

import jax.numpy as jnp
import pytest

import vtune as vt

SCRIPT = """
import os, sys
import jax
if "cores" in sys.argv:
    import vtune; vtune.use_all_cores()
import jax.numpy as jnp
import vtune as vt

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None
)
learner = vt.Learner(
    init=lambda key, h, batch: jnp.ones(()),
    step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
    measure=lambda key, h, x, batch, weight: x**2 / 2,
    score=lambda total: {"loss": total},
)
size = 1 if "one" in sys.argv else 4
sweep = vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, search=vt.Halton(size), steps=10)
vt.tune(learner, {"lr": vt.Float(0.1, 0.4)}, search=vt.Halton(size), steps=10)
print(len(hits), sweep.best.score, jax.config.jax_compilation_cache_dir)
"""


def run(*arguments, **variables):
    """Hits, score and folder, as printed, and what was said on the error stream."""
    env = {**os.environ, "PYTHONPATH": os.getcwd(), **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    folder = tmp_path / "made" / "here"
    first, _ = run(VTUNE_CACHE_DIR=str(folder))
    assert first[0] == "0"
    assert first[2] == str(folder)
    assert list(folder.iterdir())
    second, _ = run(VTUNE_CACHE_DIR=str(folder))
    assert second == ["1", first[1], str(folder)]


def test_the_cache_lies_in_the_users_cache_folder(tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path), "VTUNE_CACHE_DIR": ""}
    assert run(**env)[0][2] == "None"
    script = "import os; del os.environ['VTUNE_CACHE_DIR']\n" + SCRIPT
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.stdout.split()[2] == str(tmp_path / "vtune")
    assert list((tmp_path / "vtune").iterdir())


@pytest.mark.parametrize("how", ["off", "own", "no place"])
def test_the_cache_can_be_left_off_and_never_stops_a_sweep(how, tmp_path):
    (tmp_path / "file").write_text("")
    env = {
        "off": {"VTUNE_CACHE_DIR": "off"},
        "own": {"VTUNE_CACHE_DIR": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "o")},
        "no place": {"VTUNE_CACHE_DIR": str(tmp_path / "file" / "below")},
    }[how]
    wanted = str(tmp_path / "o") if how == "own" else "None"
    assert run(**env)[0][2] == wanted


def test_idle_cores_are_hinted_at_once():
    says = "call vt.use_all_cores() first of all"
    count = lambda *arguments: run(*arguments)[1].count(says)
    several = (os.cpu_count() or 1) > 1
    assert count() == several
    assert count("cores") == 0
    assert count("one") == 0


def test_a_members_functions_are_traced_a_few_times_only():
    """Once when they are checked, once for their shapes, once on the devices."""
    traced = []
    learner = vt.Learner(
        init=lambda key, h, batch: traced.append("init") or jnp.ones(()),
        step=lambda key, h, x, batch: traced.append("step") or (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: traced.append("measure") or x**2 / 2,
        score=lambda total: {"loss": total},
    )
    options = {"search": vt.Halton(4), "refiner": vt.PBT(), "steps": 10, "rounds": 5}
    vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, **options)
    for name, most in {"init": 2, "step": 3, "measure": 3}.items():
        assert 1 <= traced.count(name) <= most
    before = len(traced)
    vt.tune(learner, {"lr": vt.Float(0.1, 0.4)}, **options)
    assert len(traced) == before
