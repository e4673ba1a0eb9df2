"""A save is one commit: killed anywhere, it leaves the old sweep or the new one."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from problems import quadratic

import vtune as vt
from vtune.results import commit, files
from vtune.saved_files import manifest_checksum

LEARNER = quadratic()
OLD, NEW = 5, 6  # seeds


@pytest.fixture(scope="module")
def sweeps():
    return {
        seed: vt.tune(LEARNER, {"lr": vt.Float(0.1, 0.2)}, search=vt.Random(3), steps=2, seed=seed)
        for seed in (OLD, NEW)
    }


@pytest.fixture(autouse=True)
def _without_orbax(monkeypatch):
    """Weights in one plain file: Orbax works in threads, and takes its time."""

    def write(folder, leaves):
        folder.mkdir()
        np.savez_compressed(folder / "leaves.npz", *leaves.values())

    def read(folder, names):
        with np.load(folder / "leaves.npz") as file:
            return dict(zip(names, file.values(), strict=True))

    monkeypatch.setattr(files, "write_weights", write)
    monkeypatch.setattr(files, "read_weights", read)


def flatten(folder):
    """Rewrites a saved sweep in the layout of format 3."""
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = folder / manifest.pop("parts")
    names = [entry["name"] for entry in manifest.pop("arrays")]
    with np.load(parts / "arrays.npz") as file:
        arrays = dict(zip(names, (file[key] for key in sorted(file)), strict=True))
    np.savez_compressed(folder / "arrays.npz", **arrays)
    (parts / "weights").rename(folder / "weights")
    shutil.rmtree(parts)
    manifest["version"] = 3
    manifest["checksums"]["manifest"] = manifest_checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


class Killed(BaseException):
    """From the n-th file operation on, nothing works: the process is gone."""


OPERATIONS = [
    *((os, name) for name in ("mkdir", "open", "fsync", "replace", "unlink", "rmdir")),
    *((Path, name) for name in ("open", "touch", "write_text")),
    (np, "savez_compressed"),
    (shutil, "rmtree"),
]


def save_killed(monkeypatch, sweep, folder, n):
    """Saves until the n-th file operation; whether there was one."""
    count = 0

    def counted(operation):
        def call(*arguments, **keywords):
            nonlocal count
            count += 1
            if count >= n:
                raise Killed
            return operation(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        for owner, name in OPERATIONS:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            sweep.save(folder, overwrite=True)
        except Killed:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("before", ["a sweep", "a sweep of format 3", "nothing"])
def test_a_save_killed_anywhere_leaves_the_old_sweep_or_the_new_one(
    sweeps, tmp_path, monkeypatch, before
):
    first, run = tmp_path / "first", tmp_path / "run"
    if before == "nothing":
        first.mkdir()
    else:
        sweeps[OLD].save(first)
        (first / "figure.png").write_text("mine")
    if "format 3" in before:
        flatten(first)
    shutil.copytree(first, run)
    seen, n = [], 0
    while save_killed(monkeypatch, sweeps[NEW], run, n := n + 1):
        left = sorted(entry.name for entry in run.iterdir())
        if (run / "manifest.json").exists():
            loaded = vt.load(run, LEARNER)
            seen.append(loaded.seed)
            np.testing.assert_array_equal(loaded.scores, sweeps[loaded.seed].scores)
        else:
            seen.append(None)
        sweeps[NEW].save(run, overwrite=True)
        assert json.loads((run / "manifest.json").read_text())["seed"] == NEW
        others = {"figure.png"} & {entry.name for entry in run.iterdir()}
        assert len(list(run.iterdir())) == 2 + len(others), left
        shutil.rmtree(run)
        shutil.copytree(first, run)
    assert n > 20
    old = None if before == "nothing" else OLD
    commit_at = seen.index(NEW)
    assert seen == [old] * commit_at + [NEW] * (len(seen) - commit_at)
    assert (run / "figure.png").exists() == (before != "nothing")


def test_a_first_save_that_fails_leaves_no_folder(sweeps, tmp_path, monkeypatch):
    def full(folder, leaves):
        raise OSError("disk full")

    monkeypatch.setattr(files, "write_weights", full)
    with pytest.raises(OSError, match="disk full"):
        sweeps[NEW].save(tmp_path / "a" / "b" / "run")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_back_is_not_committed(sweeps, tmp_path, monkeypatch):
    sweeps[OLD].save(tmp_path / "run")
    read = files.read_weights
    monkeypatch.setattr(files, "read_weights", lambda *a: {k: v + 1 for k, v in read(*a).items()})
    with pytest.raises(ValueError, match="what was written cannot be read"):
        sweeps[NEW].save(tmp_path / "run", overwrite=True)
    monkeypatch.setattr(files, "read_weights", read)
    assert vt.load(tmp_path / "run", LEARNER).seed == OLD


def test_of_two_savers_one_is_told(sweeps, tmp_path):
    run = tmp_path / "run"
    sweeps[OLD].save(run)
    with commit.lock(run) as alone:
        assert alone
        with pytest.raises(FileExistsError, match=f"being saved to by process {os.getpid()} on"):
            sweeps[NEW].save(run, overwrite=True)
        assert vt.load(run, LEARNER).seed == OLD
    sweeps[NEW].save(run, overwrite=True)
    assert vt.load(run, LEARNER).seed == NEW
    assert len(list(run.iterdir())) == 2


def test_where_there_are_no_locks_parts_of_others_stay(sweeps, tmp_path, monkeypatch):
    run = tmp_path / "run"
    sweeps[OLD].save(run)
    (run / f"parts-{'0' * 16}").mkdir()  # somebody may be writing it
    monkeypatch.setattr(commit, "fcntl", None)
    sweeps[NEW].save(run, overwrite=True)
    assert vt.load(run, LEARNER).seed == NEW
    assert len(list(run.iterdir())) == 3


def test_a_sweep_saved_over_while_it_is_read_is_read_again(sweeps, tmp_path, monkeypatch):
    run, read = tmp_path / "run", files.read_arrays
    sweeps[OLD].save(run)

    def saved_over(file, entries):
        monkeypatch.setattr(files, "read_arrays", read)
        sweeps[NEW].save(run, overwrite=True)
        return read(file, entries)

    monkeypatch.setattr(files, "read_arrays", saved_over)
    assert vt.load(run, LEARNER).seed == NEW


def test_all_is_written_inside_the_folder(sweeps, tmp_path, monkeypatch):
    """The parent may be another's, or another file system."""
    run = tmp_path / "mounted"
    run.mkdir()
    (run / "lost+found").mkdir()
    tmp_path.chmod(0o500)
    mkdir = os.mkdir

    def only_inside(path, *arguments, **keywords):
        assert Path(path).is_relative_to(run)
        mkdir(path, *arguments, **keywords)

    monkeypatch.setattr(os, "mkdir", only_inside)
    try:
        sweeps[NEW].save(run)
        sweeps[OLD].save(run, overwrite=True)
    finally:
        tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == [run]  # for root, who may write anywhere
    assert vt.load(run, LEARNER).seed == OLD
