"""Files that no save wrote: one sentence each, whatever was changed. Only damage is called so."""

import json
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from problems import mlp_learner, quadratic

import vtune as vt
from vtune.results import storage
from vtune.results.array_schema import check_arrays
from vtune.results.encoding import decode
from vtune.results.files import read_saved
from vtune.saved_files import manifest_checksum

LEARNER = quadratic()._replace(init=lambda key, h, batch: jnp.asarray(float(len(h["c"]))))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    sweep = vt.tune(
        LEARNER, {"lr": vt.Float(0.1, 0.2), "c": (1, 2, 3)}, search=vt.Random(4), steps=4, rounds=2
    )
    sweep.save(tmp_path_factory.mktemp("manifest") / "run")
    return tmp_path_factory.getbasetemp() / "manifest0" / "run"


def signed_anew(run, change):
    """Changes the manifest and signs it as a save would."""
    manifest = json.loads((run / "manifest.json").read_text())
    change(manifest)
    manifest["checksums"]["manifest"] = manifest_checksum(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest))


def put(*path_and_value):
    """A change of one entry."""
    *path, last, value = path_and_value

    def change(manifest):
        for key in path:
            manifest = manifest[key]
        manifest[last] = value

    return change


def drop(name):
    return lambda manifest: manifest.pop(name)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"kind": "list", "items": [value]}
    return value


CHANGES = {
    "rounds 10^9": (put("rounds", 10**9), "rungs=.* do not fit the 1000000000 rounds"),
    "rounds -1": (put("rounds", -1), "rounds=-1"),
    "rounds True": (put("rounds", True), "rounds=True"),
    "seed": (put("seed", -5), "seed=-5"),
    "mode": (put("mode", "sideways"), "mode='sideways'"),
    "batch size": (put("cohorts", 0, "batch_size", 10**12), "batch_size=1000000000000"),
    "rungs": (put("cohorts", 0, "rungs", [[9, 2]]), "array 'parents' is int32"),
    "rungs grow": (put("cohorts", 0, "rungs", [[2, 1], [4, 1]]), "do not fit the 2 rounds"),
    "no cohorts": (drop("cohorts"), "cohorts=None"),
    "cohorts empty": (put("cohorts", []), "array 'parents'"),
    "no space": (drop("space"), "no 'space'"),
    "no history": (drop("history"), "no 'history'"),
    "metric not there": (put("metric", "gone"), r"metric='gone', the history has \['loss'"),
    "history not there": (put("history", ["loss", "gone"]), "no array 'history/gone'"),
    "settings not there": (put("settings", ["lr", "x"]), "no array 'settings/x'"),
    "version": (put("version", "3"), "version='3'"),
    "version None": (put("version", None), "version=None"),
    "rows": (put("rows", {"x": [[3], "odd"]}), "rows=.*odd"),
    "rows a list": (put("rows", [1]), r"rows=\[1\]"),
    "parts": (put("parts", "../../etc"), "parts='../../etc'"),
    "steps": (put("cohorts", 0, "steps", 1), "steps=1 in 2 rounds"),
    **{
        f"{name} {value}": (put("cohorts", 0, name, value), f"cohort 0: {name}=")
        for name, values in {
            "by_fold": (5, [[1]], ["a", "b"], [[1, 2]]),
            "past": (5, [[2, 4]], [3, 1], [1, 1, 1]),
            "stretched": (None, 1),
            "own_epochs": ("yes",),
        }.items()
        for value in values
    },
    "combination": (put("cohorts", 0, "combination", 7), "combination=7"),
    "traced a number": (put("cohorts", 0, "traced", 5), "cohort 0: traced=5"),
    "traced": (put("cohorts", 0, "traced", ["lr", "c"]), "no array 'cohort0/hparams/c'"),
    "dtype": (put("arrays", 0, "dtype", "object"), "arrays=.*"),
    "no module": (put("space", 0, "c", {"kind": "import"}), r"space\['c'\] .*'module'"),
    "no kind": (put("space", 0, "c", {}), r"space\['c'\] .*'kind'"),
    "kind": (put("space", 0, "c", {"kind": "exec"}), "the kind 'exec'"),
    "kind a list": (put("space", 0, "c", {"kind": [1]}), r"space\['c'\]"),
    "bounds": (put("space", 0, "lr", "fields", "low", "a"), r"space\['lr'\] .*'a'"),
    "fields": (put("space", 0, "lr", "fields", {"x": 1}), r"space\['lr'\] .*x="),
    "array": (
        put("space", 0, "c", {"kind": "array", "of": "array", "dtype": "float32", "shape": [9**9],
                              "items": [1]}),
        "the kind 'array'",
    ),
    "part a list": (put("space", 0, []), "space="),
    "timing": (put("timing", ["a", 1]), "timing="),
    "modes": (put("modes", 3), "modes=3"),
    "leaves": (put("leaves", {}), "leaves={}"),
    "modes sideways": (put("modes", [["loss", "sideways"]]), "modes="),
    "no rows": (put("rows", {}), "rows={}"),
    "rows without batches": (put("rows", {"x": [[3], "float32"]}), "eval_batch_size=None with"),
    "batches without rows": (put("eval_batch_size", 5), "eval_batch_size=5 with rows=None"),
    "batches of a cohort": (put("cohorts", 0, "batch_size", 5), "cohort 0: batch_size=5 with"),
    "scaling of nothing": (put("scaling", ["x"]), r"scaling of \['x'\], rows of \[\]"),
    "columns of nothing": (put("columns", {"x": ["a"]}), r"columns of \['x'\], rows of \[\]"),
    "data of nothing": (
        put("identity", "data", {"arrays": {"x": {"shape": [1], "dtype": "int32"}},
                                 "rows": {"train": "", "valid": ""}}),
        r"identity: data of \['x'\], rows of \[\]",
    ),
    "settings left out": (put("settings", []), r"cohort 0: traced=\['lr'\], settings of others"),
    "paths": (put("init_from", [[{}]]), "init_from="),
    "checksums": (put("checksums", "arrays", 3), "damaged, the arrays are not what was saved"),
}  # fmt: skip


NO_CHOICES = ({"kind": "Categorical"}, {"kind": "Categorical", "fields": {"choices": 1}})


@pytest.mark.parametrize("entry", NO_CHOICES)
def test_choices_that_no_save_writes_are_named(saved, tmp_path, entry):
    run = shutil.copytree(saved, tmp_path / "run")
    signed_anew(run, put("space", 0, "c", entry))
    for choices in (None, {"c": [1, 2]}):
        with pytest.raises(ValueError, match=r"run is not as a save writes it: space\['c'\]"):
            vt.load(run, LEARNER, choices=choices)


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_save_writes_is_named(saved, tmp_path, change):
    run = shutil.copytree(saved, tmp_path / "run")
    signed_anew(run, CHANGES[change][0])
    with pytest.raises(ValueError, match=CHANGES[change][1]) as caught:
        vt.read(run)
    assert str(caught.value).startswith(str(run))


ARRAYS = {
    "an orphan": (("parents", (1, 0), -1), "'parents' does not fit cohort 0"),
    "never alive": (("parents", (0, 0), -1), "'parents' does not fit cohort 0"),
    "ids": (("cohort0/id", 0, 1), "ids that are not 0 to 3"),
    "end ids": (("end0/id", 0, 1), "'end0/id' has other members than 'cohort0/id'"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_no_save_writes_are_named(saved, case):
    (name, place, value), says = ARRAYS[case]
    read = read_saved(saved, weights=False)
    arrays = {**read.arrays, name: read.arrays[name].copy()}
    arrays[name][place] = value
    with pytest.raises(ValueError, match=says):
        check_arrays(read.manifest, arrays)


def test_a_leaf_that_no_older_version_writes_is_named(tmp_path):
    run = shutil.copytree(Path(__file__).parent / "data" / "sweep_0_1_0", tmp_path / "run")
    names = json.loads((run / "manifest.json").read_text())["leaves"]
    leaves = storage.read_weights(run / "weights", names)

    def renamed(manifest):
        manifest["leaves"][1] = "0/.hparams[lr"
        named = dict(zip(manifest["leaves"], leaves.values(), strict=True))
        manifest["checksums"]["weights"] = storage.checksum(named)

    signed_anew(run, renamed)
    with pytest.raises(ValueError, match=r"run is not as a save writes it: leaves='\.hparams\[lr'"):
        vt.read(run)


def test_deep_json_is_named(saved, tmp_path):
    run = shutil.copytree(saved, tmp_path / "run")
    (run / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"damaged, manifest\.json does not parse"):
        vt.read(run)
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(nested(3000), "space['c']")


def test_what_is_not_damaged_is_not_called_so(saved, tmp_path, monkeypatch):
    run = shutil.copytree(saved, tmp_path / "run")
    real = Path.open

    def refusing(error, name):
        def call(self, *arguments, **keywords):
            if self.name == name:
                raise error
            return real(self, *arguments, **keywords)

        return call

    for error in (PermissionError("not yours"), MemoryError("too much")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refusing(error, "arrays.npz"))
            with pytest.raises(type(error), match=str(error)):
                vt.read(run)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refusing(error, "manifest.ocdbt"))
            with pytest.raises(type(error), match=str(error)):
                vt.load(run, LEARNER)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"orbax\.checkpoint"):
        vt.load(run, LEARNER)
    assert vt.read(run).best.index == vt.read(saved).best.index


def test_states_of_another_type_are_named(saved):
    half = LEARNER._replace(init=lambda key, h, batch: jnp.bfloat16(len(h["c"])))
    with pytest.raises(ValueError, match=r"needs bfloat16\[4\], the file has float32\[4\]"):
        vt.load(saved, half)


def test_a_learner_for_other_data_is_named(saved):
    with pytest.raises(
        ValueError, match=r"run does not fit this learner: it makes no state for the"
    ):
        vt.load(saved, mlp_learner())


def test_a_manifest_that_is_a_folder_is_no_sweep(saved, tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ValueError, match="is not a saved sweep"):
        vt.read(tmp_path)
    with pytest.raises(FileExistsError, match="exists and is not a saved sweep; choose another"):
        vt.load(saved, LEARNER).save(tmp_path, overwrite=True)


def test_an_array_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    file = tmp_path / "arrays.npz"
    np.savez(file, a=np.zeros(1000, np.uint8))
    raw = bytearray(file.read_bytes())
    at = raw.index(b"(1000,)")
    raw[at : at + 16] = b"(1000000000000,)"
    file.write_bytes(raw)
    with pytest.raises(storage.DamagedError, match=r"arrays\.npz"):
        storage.read_arrays(file, None)
