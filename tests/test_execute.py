"""Around the program: the compilation cache, and the hint at idle cores."""

import os
import subprocess
import sys

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
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


@pytest.mark.parametrize(
    "layout", [None, vt.Layout(devices=1), vt.Layout(chunk=2), vt.Layout(None, devices=1)], ids=str
)
def test_a_members_functions_are_traced_once(layout):
    """Where they are checked, for their shapes and in the program, on any devices."""
    traced = []
    learner = vt.Learner(
        init=lambda key, h, batch: traced.append("init") or jnp.ones(()),
        step=lambda key, h, x, batch: traced.append("step") or (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: traced.append("measure") or x**2 / 2,
        score=lambda total: {"loss": total},
    )
    options = {"search": vt.Halton(4), "refiner": vt.PBT(), "steps": 10, "rounds": 5}
    vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, layout=layout, **options)
    vt.tune(learner, {"lr": vt.Float(0.1, 0.4)}, layout=layout, **options)
    assert sorted(traced) == ["init", "measure", "step"]


def test_a_flax_model_is_traced_once_for_each_use_and_combination():
    """For its weights, to train, to score and to predict; of the three widths each."""
    traced = []

    class Model(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            traced.append(self.width)
            return nn.Dense(1)(nn.Dense(self.width)(x))

    learner = vt.flax_learner(
        lambda h: Model(h["width"]),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda outputs, batch, h: jnp.sum((outputs - batch["x"]) ** 2, axis=1),
    )
    data = vt.holdout({"x": np.ones((12, 3), np.float32)})
    space = {"lr": vt.Float(0.1, 0.5), "width": vt.Categorical([2, 3, 4])}
    vt.tune(learner, space, data, search=vt.Halton(6), epochs=1, batch_size=4)
    assert sorted(traced) == [2] * 4 + [3] * 4 + [4] * 4


def test_reads_are_noted_where_another_learner_was_traced_before(recwarn):
    """Learners that share functions share their traces, but each reads on its own."""
    first = vt.flax_learner(
        nn.Dense(1),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda outputs, batch, h: h["scale"] * jnp.sum(outputs**2, axis=1),
    )
    data = vt.holdout({"x": np.ones((12, 3), np.float32)})
    space = {"lr": vt.Float(0.1, 0.5), "scale": vt.Float(1, 2)}
    for learner in (first, first._replace(score=lambda totals: {"loss": totals["loss"][0]})):
        vt.tune(learner, space, data, search=vt.Halton(2), epochs=1, batch_size=4)
    assert not recwarn.list


def test_an_assembled_step_may_be_called_by_name():
    learner = vt.flax_learner(
        nn.Dense(1),
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=lambda outputs, batch, h: jnp.sum(outputs**2, axis=1),
    )
    key, h, batch = vt.member_key(0, 0), {"lr": 0.1}, {"x": np.ones((4, 3), np.float32)}
    state = learner.init(key, h, batch)
    by_name = learner.step(key=key, h=h, state=state, batch=batch)
    assert by_name[1]["loss"] == learner.step(key, h, state, batch)[1]["loss"]
