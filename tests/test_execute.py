"""Around the program: the compilation cache, and the hint at idle cores."""

import os
import subprocess
import sys
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vtune as vt
from vtune.runtime import compilation_cache
from vtune.runtime.compilation_cache import use_cache

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
vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, search=vt.Halton(1), steps=10)
print("one member was tuned", file=sys.stderr)
sweep = vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, search=vt.Halton(4), steps=10)
vt.tune(learner, {"lr": vt.Float(0.1, 0.4)}, search=vt.Halton(4), steps=10)
print(len(hits), sweep.best.score, jax.config.jax_compilation_cache_dir)
"""
HINT = "call vt.use_all_cores() first of all"


def run(*arguments, **variables):
    """Hits, score and folder, as printed, and what was said on the error stream before and after
    the sweep of one member."""
    env = {**os.environ, "PYTHONPATH": os.getcwd(), **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr.split("one member was tuned")


@pytest.mark.slow
def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    """Idle cores are hinted at once, where there are several members."""
    folder = tmp_path / "made" / "here"
    first, (one, several) = run(VTUNE_CACHE_DIR=str(folder))
    assert first[0] == "0"
    assert first[2] == str(folder)
    assert list(folder.iterdir())
    second, _ = run(VTUNE_CACHE_DIR=str(folder))
    assert second == ["2", first[1], str(folder)]
    assert HINT not in one
    assert several.count(HINT) == ((os.cpu_count() or 1) > 1)


@pytest.mark.slow
def test_cores_that_are_used_are_not_hinted_at():
    _, said = run("cores", VTUNE_CACHE_DIR="off")
    assert HINT not in "".join(said)


@pytest.fixture
def no_cache():
    """JAX without a folder for compiled programs; afterwards with the one that it had."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        (None, "caches/vtune"),  # in the user's cache folder
        ("chosen/below", "chosen/below"),
        ("off", None),
        ("", None),
        ("OFF", None),
        ("0", None),
        ("~/own", "home/own"),
        ("file/below", None),  # cannot be made, which stops no sweep
        ("gs://bucket/cache", None),
        ("on", "caches/vtune"),
        ("True", "caches/vtune"),
    ],
)
@pytest.mark.usefixtures("no_cache")
def test_where_the_cache_lies(variable, wanted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    monkeypatch.setenv("HOME", "home")
    monkeypatch.delenv("VTUNE_CACHE_DIR")
    if variable is not None:
        monkeypatch.setenv("VTUNE_CACHE_DIR", variable)
    use_cache()
    assert jax.config.jax_compilation_cache_dir == wanted
    assert wanted is None or (tmp_path / wanted).is_dir()


@pytest.mark.parametrize(
    ("variable", "says"),
    [("gs://bucket", "no folder of this machine; JAX may"), ("file/below", "Not a directory")],
)
@pytest.mark.usefixtures("no_cache")
def test_a_named_folder_that_cannot_be_the_cache_is_said_once(
    variable, says, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VTUNE_CACHE_DIR", variable)
    compilation_cache._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=rf"not kept in VTUNE_CACHE_DIR={variable}: .*{says}"):
        use_cache()
    use_cache()
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.usefixtures("no_cache")
def test_a_cache_that_jax_has_already_is_kept(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    monkeypatch.setenv("VTUNE_CACHE_DIR", str(tmp_path / "other"))
    use_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")


@pytest.mark.usefixtures("no_cache")
def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("VTUNE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compilation_cache.Path, "home", no_home)
    use_cache()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners")
@pytest.mark.parametrize("mode", [0o777, 0o720])
@pytest.mark.usefixtures("no_cache")
def test_a_cache_that_others_may_write_to_is_not_used(mode, tmp_path, monkeypatch):
    """Programs in it are run as they are."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    monkeypatch.setenv("VTUNE_CACHE_DIR", str(tmp_path / "open"))
    with pytest.warns(UserWarning, match="chmod go-w"):
        use_cache()
    use_cache()  # said once
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.usefixtures("no_cache")
def test_broken_and_old_entries_leave_the_cache(tmp_path, monkeypatch):
    """JAX would warn of them in every process and never write them anew."""
    packed = zlib.compress(b"program" * 9)
    entries = {
        "whole": packed,
        "cut": packed[:-4],
        "empty": b"",
        "random": b"?" * 50,
        "old": packed,
    }
    entry = lambda name: tmp_path / f"jit_{name}-{name.encode().hex():0>64}-cache"
    files = {entry(name): content for name, content in entries.items()}
    others = [tmp_path / "somebody's", tmp_path / "somebody's-cache"]
    files |= dict.fromkeys(others, b"no entry")
    for age, (path, content) in enumerate(files.items()):
        path.write_bytes(content)
        os.utime(path, (1e9 - age, 1e9 - age))
    entry("written").write_bytes(packed[:5])  # at this moment, by another process
    monkeypatch.setattr(compilation_cache, "LARGEST", len(packed) + 1)
    monkeypatch.setenv("VTUNE_CACHE_DIR", str(tmp_path))
    use_cache()
    listed = tmp_path / compilation_cache.CHECKED
    assert {*tmp_path.iterdir()} == {entry("whole"), entry("written"), listed, *others}
    monkeypatch.setattr(compilation_cache, "_is_whole", None)  # no entry is unpacked twice
    compilation_cache.tidy(tmp_path)
    assert entry("whole").exists()


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
    """For its weights, to train, to score and to predict; of the three widths each.

    Once more, in training, it is asked which random streams it draws from. The loss is traced to
    train and to score, for the weights of rows in both, and once more where its gradient is looked
    at; the optimizer for its state and its update.
    """
    traced, losses, optimizers = [], [], []

    class Model(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            traced.append(self.width)
            return nn.Dense(1)(nn.Dense(self.width)(x))

    def loss(outputs, batch, h):
        losses.append(h["width"])
        return jnp.sum((outputs - batch["x"]) ** 2, axis=1)

    def optimizer(h):
        optimizers.append(h["width"])
        return optax.adam(h["lr"])

    learner = vt.flax_learner(lambda h: Model(h["width"]), optimizer=optimizer, loss=loss)
    data = vt.holdout({"x": np.ones((12, 3), np.float32)})
    space = {"lr": vt.Float(0.1, 0.5), "width": vt.Categorical([2, 3, 4])}
    vt.tune(learner, space, data, search=vt.Halton(6), epochs=1, batch_size=4)
    assert sorted(traced) == [2] * 5 + [3] * 5 + [4] * 5
    assert sorted(losses) == [2] * 5 + [3] * 5 + [4] * 5
    assert sorted(optimizers) == [2] * 2 + [3] * 2 + [4] * 2


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
