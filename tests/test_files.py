"""Saving and loading: the same results back, or a clear error and nothing written."""

import json
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs, mlp_learner, quadratic
from solo import largest_difference, xent

import vtune as vt

SAVED = Path(__file__).parent / "data"
DATA = blobs()
SPACE = {
    **LR,
    "c": vt.Ordinal([0.001, 1.0]),
    "act": vt.Categorical([nn.relu, jnp.tanh]),
    "sizes": vt.Categorical([(4,), (4, 5)]),
    "scale": 1.5,
}


class Deep(nn.Module):
    act: object
    sizes: tuple

    @nn.compact
    def __call__(self, x, train):
        for size in self.sizes:
            x = self.act(nn.Dense(size)(x))
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


def deep_learner():
    return vt.flax_learner(
        lambda h: Deep(h["act"], h["sizes"]),
        optimizer=lambda h: optax.adamw(h["lr"] * h["scale"], weight_decay=h["c"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )


@pytest.fixture(scope="module")
def sweep():
    return vt.tune(
        deep_learner(),
        SPACE,
        DATA,
        search=vt.Random(6),
        epochs=2,
        batch_size=16,
        metric="accuracy",
        mode="max",
    )


def test_a_sweep_comes_back_whole(sweep, tmp_path):
    sweep.save(tmp_path / "deep" / "run")
    learner = deep_learner()
    back = vt.load(tmp_path / "deep" / "run", learner)
    assert repr(back) == repr(sweep)
    assert back.best.index == sweep.best.index
    assert list(back.history) == list(sweep.history)
    for name in sweep.history:
        np.testing.assert_array_equal(back.history[name], sweep.history[name])
    x = np.asarray(DATA.arrays["x"])
    for a, b in zip(sweep, back, strict=True):
        assert a.hparams == b.hparams
        assert a.status == b.status
        assert largest_difference(a.variables, b.variables) == 0
        assert jax.tree.structure(a.state) == jax.tree.structure(b.state)
        np.testing.assert_array_equal(a.predict(x), b.predict(x))
    assert sweep.table().equals(back.table())
    assert largest_difference(back.rerun(2, data=DATA).variables, sweep[2].variables) < 1e-5
    with pytest.raises(ValueError, match=r"rerun\(..., data=...\)"):
        back.rerun(2)
    back.save(tmp_path / "again")
    assert vt.load(tmp_path / "again", learner).best.hparams == sweep.best.hparams


class Net(nn.Module):
    act: object

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(self.act(nn.Dense(4)(x)))


def net_learner():
    return vt.flax_learner(
        lambda h: Net(h["act"]),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )


def test_a_sweep_saved_by_version_0_1_0_loads():
    """A refined sweep on scaled data, with a choice that is a function."""
    sweep = vt.load(SAVED / "sweep_0_1_0", net_learner())
    assert sweep.best.index == 1
    assert sweep.best.hparams == {"lr": pytest.approx(0.035313796), "act": nn.tanh}
    assert sweep.best.score == pytest.approx(0.9)
    np.testing.assert_allclose(sweep.scores, [0.8, *[0.9] * 7], rtol=1e-6)
    assert sweep.history["accuracy"].shape == (4, 8)
    x = np.random.default_rng(0).normal(3, 2, (40, 3)).astype(np.float32)
    expected = [[-0.5575948, 0.8711601], [0.0078318, 0.2805411], [-0.9247365, 1.5797341]]
    np.testing.assert_allclose(sweep.predict(x[:3]), expected, rtol=1e-5, atol=1e-6)


def test_a_sweep_of_format_2_loads():
    """From before early stopping: saved by a version that was never released."""
    sweep = vt.load(SAVED / "sweep_format_2", net_learner())
    assert sweep.best.index == 0
    assert sweep.best.hparams == {"lr": pytest.approx(0.005099256), "act": nn.relu}
    assert sweep.parents[1].tolist() == [0, 5, 2, 3, 4, 5, 2, 7]
    assert {member.status for member in sweep} == {"completed"}
    x = np.random.default_rng(0).normal(0, 1, (40, 3)).astype(np.float32)
    expected = [[-0.0177023, -0.0249445], [-0.0389894, -0.0925699], [0.5354021, 1.8482157]]
    np.testing.assert_allclose(sweep.predict(x[:3]), expected, rtol=1e-5, atol=1e-6)


def test_states_with_keys_and_no_data_come_back(tmp_path):
    learner = vt.Learner(
        init=lambda key, h, batch: {"x": jnp.ones(2, jnp.bfloat16), "key": key},
        step=lambda key, h, s, batch: ({"x": s["x"] * h["a"].astype(s["x"].dtype), "key": key}, {}),
        measure=lambda key, h, s, batch, weight: s["x"].sum().astype(jnp.float32),
        score=lambda total: {"loss": total},
    )
    sweep = vt.tune(learner, {"a": vt.Float(0.1, 0.9)}, search=vt.Random(3), steps=3)
    sweep.save(tmp_path / "run")
    back = vt.load(tmp_path / "run", learner)
    assert back[1].state["x"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        jax.random.key_data(back[1].state["key"]), jax.random.key_data(sweep[1].state["key"])
    )


def test_saving_over_a_run_needs_overwrite(sweep, tmp_path):
    run = tmp_path / "run"
    sweep.save(run)
    (run / "figure.png").write_text("mine")
    before = sorted(run.rglob("*"))
    with pytest.raises(ValueError, match=r"holds a saved sweep already; give overwrite=True"):
        sweep.save(run)
    with pytest.raises(TypeError, match="save: overwrite='no' must be True or False"):
        sweep.save(run, overwrite="no")
    with pytest.raises(TypeError, match="load: check='no' must be True or False"):
        vt.load(run, deep_learner(), check="no")
    assert sorted(run.rglob("*")) == before
    sweep.save(run, overwrite=True)
    assert vt.load(run, deep_learner()).best.hparams == sweep.best.hparams
    assert [p.name for p in tmp_path.iterdir()] == ["run"]  # nothing is written beside the folder
    assert len(list(run.iterdir())) == 3  # the manifest, its parts and the figure
    assert (run / "figure.png").read_text() == "mine"


def test_empty_leaves_and_metric_functions_come_back(tmp_path):
    class Hollow(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("nothing", nn.initializers.zeros, (0, 3))
            return nn.Dense(3)(x)

    learner = vt.flax_learner(Hollow(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    sweep = vt.tune(
        learner,
        LR,
        DATA,
        search=vt.Random(2),
        epochs=1,
        batch_size=16,
        metric=lambda m: -m["loss"],
        mode="max",
    )
    sweep.save(tmp_path / "run")
    back = vt.load(tmp_path / "run", learner)
    assert back.best.variables["params"]["nothing"].shape == (0, 3)
    assert back.best.score == sweep.best.score
    with pytest.raises(ValueError, match="metric= was a function, which its file does not hold"):
        back.rerun(0, data=DATA)
    with pytest.raises(ValueError, match="give the data it was trained on"):
        back.rerun(0, data=blobs(rows=48))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_saving_never_replaces_what_is_not_ours(sweep, tmp_path, kind):
    target = tmp_path / "precious"
    keep = target
    if kind == "folder":
        target.mkdir()
        keep = target / "thesis.txt"
    keep.write_text("years")
    with pytest.raises(ValueError, match="is not a saved sweep; choose another folder"):
        sweep.save(target, overwrite=True)
    assert keep.read_text() == "years"


def test_missing_and_foreign_folders_are_named(tmp_path):
    learner = mlp_learner()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        vt.load(tmp_path / "nowhere", learner)
    with pytest.raises(ValueError, match=r"is not a saved sweep: it has no manifest\.json"):
        vt.load(tmp_path, learner)
    (tmp_path / "manifest.json").write_text('{"name": "other"}')
    with pytest.raises(ValueError, match=r"manifest\.json is of something else"):
        vt.load(tmp_path, learner)


def damage_manifest(run):
    (run / "manifest.json").write_text("{")


def lose_entry(run):
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["cohorts"]
    (run / "manifest.json").write_text(json.dumps(manifest))


def change_entry(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "mode": "min"}))


def newer(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))


def parts_of(run):
    (parts,) = run.glob("parts-*")
    return parts


def cut_arrays(run):
    raw = (parts_of(run) / "arrays.npz").read_bytes()
    (parts_of(run) / "arrays.npz").write_bytes(raw[: len(raw) // 2])


def change_arrays(run):
    with np.load(parts_of(run) / "arrays.npz") as file:
        arrays = dict(file)
    arrays["00000"] = arrays["00000"] + 1
    np.savez_compressed(parts_of(run) / "arrays.npz", **arrays)


def lose_weights(run):
    shutil.rmtree(parts_of(run) / "weights")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_manifest, "damaged, manifest.json does not parse"),
        (lose_entry, r"damaged, manifest.json is not what was saved"),
        (change_entry, r"damaged, manifest.json is not what was saved"),
        (newer, "saved by a newer vtune; upgrade vtune"),
        (cut_arrays, "damaged, arrays.npz: "),
        (change_arrays, "damaged, the arrays are not what was saved"),
        (lose_weights, "damaged, weights: "),
    ],
)
def test_damaged_folders_are_named(sweep, tmp_path, damage, says):
    run = tmp_path / "run"
    sweep.save(run)
    damage(run)
    with pytest.raises(ValueError, match=says):
        vt.load(run, deep_learner())


def test_another_learner_is_named(tmp_path):
    sweep = vt.tune(mlp_learner(), LR, DATA, search=vt.Random(2), epochs=1, batch_size=16)
    sweep.save(tmp_path / "run")
    wider = vt.flax_learner(MLP(width=9), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    with pytest.raises(ValueError, match=r"does not fit this learner: .* needs float32\[2, "):
        vt.load(tmp_path / "run", wider)
    with pytest.raises(ValueError, match="give a learner made like the one that was trained"):
        vt.load(tmp_path / "run", quadratic())
