"""Where a sweep is saved, and whatever may be wrong with that: a sentence for each."""

import copy
import os
import pickle
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from problems import quadratic

import vtune as vt
from vtune.results.commit import RunExistsError
from vtune.results.paths import check_target, folder_of, make_folder

LEARNER = quadratic()


@pytest.fixture(scope="module")
def sweep():
    space = {"lr": vt.Float(0.1, 0.2), "loss/best": vt.Float(0, 1), "loss/best_round": 3}
    learner = LEARNER._replace(
        init=lambda key, h, batch: 0.0 * h["loss/best"] + h["loss/best_round"],
    )
    return vt.tune(learner, space, search=vt.Random(2), steps=2)


@pytest.mark.parametrize("call", ["save", "load", "read"])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("gs://bucket/run", "'gs://bucket/run' is not on this machine"),
        (Path("s3://bucket/run"), "'s3:/bucket/run' is not on this machine"),
        ("file:///tmp/run", "'file:///tmp/run' is an address; write the folder's path, without"),
        (b"\xff\xfe", "cannot be the name of a folder"),
        (None, "path must be the name of a folder, got None"),
        (3, "path must be the name of a folder, got 3"),
        ("", "'' cannot be the name of a folder"),
        ("a\0b", "cannot be the name of a folder"),
        ("~nobody-of-this-name/run", "write the whole path"),
    ],
    ids=repr,
)
def test_what_is_no_folder_is_named(sweep, call, path, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = {"save": sweep.save, "load": lambda p: vt.load(p, LEARNER), "read": vt.read}
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        calls[call](path)
    assert str(caught.value).startswith(f"{call}: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overwrite", ["yes", "no", None, 2])
def test_overwrite_is_yes_or_no(sweep, overwrite, tmp_path):
    with pytest.raises(TypeError, match=rf"save: overwrite={overwrite!r} must be True or False"):
        sweep.save(tmp_path / "run", overwrite=overwrite)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"check": "no"}, "check='no' must be True or False"),
        ({"trusted": 3}, "trusted=3 must be names of modules"),
        ({"trusted": "mine"}, "trusted='mine' must be names of modules"),
        ({"trusted": [3]}, r"trusted=\[3\] must be names of modules"),
    ],
    ids=repr,
)
def test_what_load_cannot_take_is_named(options, says, tmp_path):
    with pytest.raises(TypeError, match=says):
        vt.load(tmp_path, LEARNER, **options)


def test_home_is_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of("save", "~/run") == tmp_path / "run"
    assert folder_of("save", b"run") == Path("run")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; give one that sweep"):
        vt.read("~/nowhere")


def test_what_stands_in_the_way_is_named(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("mine")
    link.symlink_to(tmp_path / "gone")
    long = tmp_path / ("x" * 300)
    for folder, error, says in (
        (link, RunExistsError, r"link is a link to .*gone, which is not there; make that folder"),
        (file, RunExistsError, "file exists and is not a saved sweep; choose another folder"),
        (file / "run", OSError, r"run cannot be .*\((File exists|Not a directory)\); choose"),
        (long, OSError, r"x cannot be .*\(File name too long\); choose another folder"),
        (Path("/proc/run"), OSError, r"/proc/run cannot be made .*; choose another folder"),
    ):
        with pytest.raises(error, match=says):
            _prepare(folder)
    assert _prepare(tmp_path / ("x" * 250)) is None
    with pytest.raises(FileNotFoundError, match="file: is not a folder"):
        vt.read(file)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        vt.read(long)


def _prepare(folder):
    check_target(folder, overwrite=False)
    make_folder("save", folder)


# NumPy before 2.2 leaves a file that it could not write open, and Python says so later.
@pytest.mark.filterwarnings("ignore:.*ZipFile.__del__:pytest.PytestUnraisableExceptionWarning")
def test_a_system_that_fails_in_a_save_is_worded(sweep, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"save: .*run cannot be written; what it held is kept \("
        ):
            sweep.save(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match=r"written to \(Permission denied\); choose another"):
        _prepare(tmp_path / "run")


def test_a_hyperparameter_never_takes_a_metrics_column(sweep):
    pytest.importorskip("pandas")
    table = sweep.table()
    values = [member.hparams["loss/best"] for member in sweep]
    np.testing.assert_allclose(table["hparams/loss/best"], values)
    np.testing.assert_array_equal(table["hparams/loss/best_round"], 3)
    np.testing.assert_array_equal(table["loss/best"], sweep.history["loss"].min(axis=0))


def _init(key, h, batch):
    return 1.0


def _step(key, h, x, batch):
    return x - h["lr"] * x, {}


def _measure(key, h, x, batch, weight):
    return x**2


def _score(total):
    return {"loss": total}


def test_a_sweep_is_pickled_where_its_learner_can_be(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(pickle.PicklingError, match=r"write sweep\.save\(folder\) and vt\.load"):
        pickle.dumps(sweep)
    for same in (copy.copy(sweep), copy.deepcopy(sweep)):
        assert same.best.hparams == sweep.best.hparams
    own = vt.tune(vt.Learner(_init, _step, _measure, _score), {"lr": vt.Float(0.1, 0.2)}, steps=2)
    back = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(back.scores, own.scores)
    np.testing.assert_array_equal(back[3].state, own[3].state)
