"""A run that is kept goes on where it was ended: to the same bits, or with a clear error."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import LR, blobs, mlp_learner, quadratic

import vtune as vt
from vtune.results import checkpoint_files, commit
from vtune.results import files as sweep_files
from vtune.runtime import execute, segments
from vtune.runtime.watch import Watcher
from vtune.saved_files import manifest_checksum
from vtune.tuning.checkpoints import keeper
from vtune.tuning.checkpoints.call import differences

LEARNER = quadratic()
SPACE = {"lr": vt.Float(0.1, 0.5)}
PLAIN = {"search": vt.Halton(4), "steps": 6, "rounds": 6}


def tune(learner=LEARNER, space=SPACE, data=None, **options):
    return vt.tune(learner, space, data, **{**PLAIN, **options}, progress=False)


@pytest.fixture
def stop(monkeypatch):
    """`stop(n)`: what runs from now on is ended after n rounds, one round a segment; `stop(None)`
    lets it run."""
    after = []

    class Stop(Watcher):
        def most_rounds(self, done):
            return 1

        def segment(self, standing):
            return "ended" if standing.done == after[-1] else None

    run = execute._run

    def stopped(*given):
        *first, watchers, point = given
        return run(*first, [Stop(), *watchers], point)

    monkeypatch.setattr(execute, "_run", stopped)
    after.append(None)
    return after.append


def leaves(sweep):
    trained = sweep.trained
    left = [member.state for member in sweep if not member.status.startswith("dropped")]
    return jax.device_get(jax.tree.leaves((trained.records, left, trained.memories, sweep.scores)))


def assert_equal(a, b):
    """Whether two sweeps have the same bits."""
    assert [member.status for member in a] == [member.status for member in b]
    for one, other in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def checkpoints(folder):
    return [int(path.name) for path in checkpoint_files.checkpoints(folder)]


MLP_LEARNER, DATA = mlp_learner(), blobs()
MLP = {"learner": MLP_LEARNER, "space": LR, "data": DATA, "batch_size": 16, "steps": None}
CASES = {
    "PB2": {"refiner": vt.PB2(quantile_fraction=0.4, candidates=32, observations=16)},
    "Halving": {"refiner": vt.Halving(reduction_factor=2)},
    "folds, seeds, best": {
        **MLP,
        "search": vt.Halton(3),
        "data": vt.kfold(blobs(rows=60).arrays, k=2, seed=0),
        "seeds": 2,
        "epochs": 6,
        "rounds": None,
        "patience": 3,
        "keep": "best",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_same_call_goes_on_to_the_same_bits(case, stop, tmp_path, compilations):
    """Ended twice, once before and once after members are dropped."""
    options, run = CASES[case], tmp_path / "run"
    whole = tune(**options)
    with compilations() as seen:
        for end in (1, 3):
            stop(end)
            part = tune(**options, checkpoint=run)
            assert part.trained.rounds == end
            assert checkpoints(run)[0] == end
    assert seen.count == 0
    read = vt.load(run, options.get("learner", LEARNER))
    stop(None)
    last = tune(**options, checkpoint=run)
    stop(1)  # nothing is run any more
    again = tune(**options, checkpoint=run)
    np.testing.assert_array_equal(read.history["loss"], part.history["loss"])
    assert {member.status.split()[0] for member in read} <= {"interrupted", "dropped", "stopped"}
    assert_equal(last, whole)
    assert_equal(again, whole)
    assert again.trained.data is options.get("data")
    assert sorted(path.name.split("-")[0] for path in run.iterdir()) == ["manifest.json", "parts"]


def test_it_is_the_same_with_checkpoints_and_without(tmp_path, compilations, monkeypatch):
    whole = tune()
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    with compilations() as seen:
        by_rounds = tune(checkpoint=vt.Checkpoint(tmp_path / "a", rounds=1))
        by_time = tune(checkpoint=vt.Checkpoint(tmp_path / "b", every=1e-9))
    assert seen.count == 0
    assert_equal(by_rounds, whole)
    assert_equal(by_time, whole)


def test_an_extension_goes_on_as_well(stop, tmp_path):
    sweep = tune()
    longer = vt.extend(sweep, steps=4, rounds=4)
    stop(8)
    part = vt.extend(sweep, steps=4, rounds=4, checkpoint=tmp_path / "run")
    assert part.trained.rounds == 8
    assert vt.read(tmp_path / "run").history["loss"].shape == (8, 4)
    stop(None)
    assert_equal(vt.extend(sweep, steps=4, rounds=4, checkpoint=tmp_path / "run"), longer)
    with pytest.raises(vt.CheckpointMismatchError, match="the sweep that is extended: something"):
        vt.extend(tune(seed=3), steps=4, rounds=4, checkpoint=tmp_path / "run")


def test_states_of_any_type_go_on(stop, tmp_path):
    """Keys, bfloat16, no numbers at all."""
    learner = vt.Learner(
        init=lambda key, h, batch: {
            "x": jnp.ones(2, jnp.bfloat16),
            "key": key,
            "none": jnp.zeros((0, 3)),
            "n": jnp.int8(0),
        },
        step=lambda key, h, s, batch: (
            {**s, "x": s["x"] * h["a"].astype(s["x"].dtype), "key": key, "n": s["n"] + jnp.int8(1)},
            {},
        ),
        measure=lambda key, h, s, batch, weight: s["x"].sum().astype(jnp.float32),
        score=lambda total: {"loss": total},
    )
    given = {"learner": learner, "space": {"a": vt.Float(0.1, 0.9)}}
    whole = tune(**given)
    stop(2)
    tune(**given, checkpoint=tmp_path)
    assert int(vt.load(tmp_path, learner)[1].state["n"]) == 2
    stop(None)
    last = tune(**given, checkpoint=tmp_path)
    for a, b in zip(last, whole, strict=True):
        keys = jax.random.key_data(a.state["key"]), jax.random.key_data(b.state["key"])
        np.testing.assert_array_equal(*keys)
        np.testing.assert_array_equal(a.state["x"], b.state["x"])


@pytest.fixture
def unfinished(stop, tmp_path):
    """A folder with the checkpoints of rounds 1 and 2."""
    for end in (1, 2):
        stop(end)
        tune(checkpoint=tmp_path / "run")
    stop(None)
    return tmp_path / "run"


def other_learner():
    return vt.Learner(
        init=lambda key, h, batch: jnp.asarray(1.0),
        step=lambda key, h, x, batch: (x - 1.5 * h["lr"] * x, {"loss": x**2 / 2}),
        measure=lambda key, h, x, batch, weight: x**2 / 2,
        score=lambda total: {"loss": total},
        variables=lambda x: x,
    )


MISMATCHES = {
    "seed": ({"seed": 1}, [r"seed: 1 here, 0 there"]),
    "range": ({"space": {"lr": vt.Float(0.1, 0.4)}}, [r"space\['lr'\]: Float.*0.4.* here, Float"]),
    "kind": ({"space": {"lr": vt.Ordinal([0.1, 0.5])}}, [r"space\['lr'\]: Ordinal\(.*here, Float"]),
    "search": ({"search": vt.Random(4)}, [r"the values drawn of 'lr': something else"]),
    "members": (
        {"search": vt.Halton(5)},
        [
            r"members: 5 here, 4 there",
            r"\n  \[members, rounds\] of each rung: \[\[5, 6\]\] here, \[\[4",
            r"\n  which members each structure has: something else\n",
        ],
    ),
    "steps": ({"steps": 12}, [r"steps: 12 here, 6 there"]),
    "rounds": ({"rounds": 3}, [r"rounds: 3 here, 6 there"]),
    "refiner": ({"refiner": vt.PBT()}, [r'refiner: "PBT" here, "Keep" there', r"PBT's burn_in"]),
    "metric": ({"metric": lambda m: m["loss"], "mode": "min"}, [r"metric: .*lambda.* here, .loss"]),
    "mode": ({"mode": "max"}, [r'mode: "max" here, "min" there']),
    "patience": ({"patience": 2}, [r"patience: 2 here, none there", r'keep: "best" here, "last"']),
    "keep": ({"keep": "best"}, [r'keep: "best" here, "last" there']),
    "seeds": ({"seeds": 2}, [r"seeds: 2 here, 1 there"]),
    "learner": ({"learner": other_learner()}, [r"the learner's step: something else\n"]),
    "several": ({"seed": 1, "steps": 7}, [r"seed: 1 here, 0 there", r"steps: 7 here, 6 there"]),
}


@pytest.mark.filterwarnings("ignore:mode=")
@pytest.mark.parametrize("case", MISMATCHES)
def test_another_call_is_told_apart_before_anything_is_compiled(case, unfinished, refused):
    options, says = MISMATCHES[case]
    for said in says:
        with refused(vt.CheckpointMismatchError, rf"another call(.|\n)*{said}"):
            tune(**options, checkpoint=unfinished)
    assert checkpoints(unfinished) == [2, 1]


def test_what_the_learner_follows_from_is_named_before_it():
    """Where the other call has what this one does not, such as `frozen=`."""
    saved = {"the learner's step": {"sha256": "a"}, "frozen['params']": True}
    asked = {"seed": 1, "the learner's step": {"sha256": "b"}}
    for here, there in ((asked, saved), (saved, asked)):
        *first, last = differences(there, here)
        assert sorted(line.partition(":")[0] for line in first) == ["frozen['params']", "seed"]
        assert last == "the learner's step: something else"


def test_a_bound_may_be_written_otherwise(tmp_path):
    """0 and 0.0 are one number."""
    first = tune(space={"lr": vt.Float(0, 0.5)}, checkpoint=tmp_path)
    assert (
        tune(space={"lr": vt.Float(0.0, 0.5)}, checkpoint=tmp_path).best.score == first.best.score
    )


@pytest.mark.slow
def test_other_data_are_told_apart_by_entry(stop, tmp_path, refused):
    stop(1)
    options = {**MLP, "rounds": None, "epochs": 2}
    tune(**options, checkpoint=tmp_path)
    x, y = np.asarray(DATA.arrays["x"]), np.asarray(DATA.arrays["y"])
    cases = {
        r"data\['x'\]: something else\n": vt.holdout({"x": x + 1, "y": y}, fraction=0.25),
        r"data\['z'\]: (.|\n)* none there": vt.holdout({"x": x, "y": y, "z": y}, fraction=0.25),
        "the split of the rows: something": vt.holdout({"x": x, "y": y}, fraction=0.25, seed=1),
        "folds: 2 here, 1 there": vt.kfold({"x": x, "y": y}, k=2),
    }
    for says, data in cases.items():
        with refused(vt.CheckpointMismatchError, says):
            tune(**{**options, "data": data}, checkpoint=tmp_path)
    for more, says in (
        ({"batch_size": 8}, "batch_size: 8 here, 16 there"),
        ({"eval_batch_size": 8}, "eval_batch_size: 8 here, 24 there"),
        ({"refiner": vt.PBT(quantile_fraction=0.3)}, r"PBT's quantile_fraction: 0.3\d* here"),
    ):
        with refused(vt.CheckpointMismatchError, says):
            tune(**{**options, **more}, checkpoint=tmp_path)


def test_restart_begins_anew_and_says_what_it_discards(unfinished):
    (unfinished / "notes.txt").write_text("mine")
    again = vt.Checkpoint(unfinished, restart=True)
    with pytest.warns(UserWarning, match="its checkpoint of 2 and 1 rounds is removed"):
        tune(seed=1, checkpoint=again)
    assert vt.read(unfinished).seed == 1
    with pytest.warns(UserWarning, match="its finished sweep is removed"):
        sweep = tune(seed=2, checkpoint=again)
    assert vt.read(unfinished).seed == sweep.seed == 2
    assert (unfinished / "notes.txt").read_text() == "mine"
    assert len(list(unfinished.iterdir())) == 3
    nowhere = vt.Checkpoint(unfinished / "new", restart=True)
    tune(checkpoint=nowhere)  # nothing to discard, so nothing is said


def test_what_is_no_run_is_left_alone(tmp_path, refused):
    tune().save(tmp_path / "saved")
    with refused(vt.CheckpointMismatchError, "saved without checkpoint="):
        tune(checkpoint=tmp_path / "saved")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "page"}')
    with refused(FileExistsError, "manifest.json of something else"):
        tune(checkpoint=tmp_path / "web")
    (tmp_path / "file").write_text("")
    with refused(OSError, "cannot be made or written to"):
        tune(checkpoint=tmp_path / "file" / "run")
    assert [entry.name for entry in (tmp_path / "web").iterdir()] == ["manifest.json"]


def test_a_folder_is_one_process_alone(unfinished, refused):
    with commit.lock(unfinished):
        with refused(FileExistsError, f"by process {os.getpid()} on"):
            tune(checkpoint=unfinished)
        assert vt.read(unfinished).trained.rounds == 2
    assert tune(checkpoint=unfinished).trained.rounds == 6


def damage(folder, how):
    """Damages a checkpoint."""
    if how == "cut":
        for file in folder.rglob("*"):
            if file.is_file() and file.stat().st_size > 100:
                file.write_bytes(file.read_bytes()[:50])
    elif how == "gone":
        shutil.rmtree(folder / "arrays")
    elif how == "manifest":
        (folder / "manifest" / "metadata").write_text("{")
    else:
        header = json.loads((folder / "manifest" / "metadata").read_text())
        header["checksums"]["arrays"] = "0"
        header["checksums"]["manifest"] = manifest_checksum(header)
        (folder / "manifest" / "metadata").write_text(json.dumps(header))


@pytest.mark.parametrize("how", ["cut", "gone", "manifest", "numbers"])
def test_of_a_damaged_one_the_one_before_is_taken(how, unfinished):
    whole = tune()
    damage(unfinished / checkpoint_files.FOLDER / "2", how)
    with pytest.warns(UserWarning, match="2: damaged, .*; read is the one of round 1 before it"):
        assert vt.read(unfinished).trained.rounds == 1
    with pytest.warns(UserWarning, match="2: damaged, .* removed, and .* goes on .* after 1"):
        assert_equal(tune(checkpoint=unfinished), whole)


def test_where_all_are_damaged_nothing_begins_by_itself(unfinished, refused):
    for number in "12":
        damage(unfinished / checkpoint_files.FOLDER / number, "cut")
    with refused(ValueError, r"2: damaged(.|\n)*1: damaged(.|\n)*restart=True"):
        tune(checkpoint=unfinished)
    with refused(ValueError, r"2: damaged(.|\n)*1: damaged"):
        vt.read(unfinished)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(version=99), "was written by a newer vtune"),
        (lambda h: h.update(format="other"), "not a checkpoint of vtune's"),
        (lambda h: h.update(rounds=-1), "rounds=-1"),
        (lambda h: h.update(rounds=10**9), "rounds=1000000000"),
        (lambda h: h.update(states={"7/.state": 0}), "states="),
        (lambda h: h.update(states={"0/.state": 10**9}), "states: '0/.state' in"),
        (lambda h: h["arrays"][0].update(dtype="object"), "arrays="),
        (lambda h: h["arrays"][0].update(name="x"), "the leaves"),
        (lambda h: h["sweep"].update(seed="; import os"), "seed="),
        (lambda h: h.update(sweep=[]), "manifest="),
    ],
)
def test_a_file_of_anybodys_is_refused(change, says, unfinished):
    """One that was changed on purpose has the right checksum."""
    for number in "12":
        file = unfinished / checkpoint_files.FOLDER / number / "manifest" / "metadata"
        header = json.loads(file.read_text())
        change(header)
        header["checksums"]["manifest"] = manifest_checksum(header)
        if says == "the leaves":
            header["checksums"]["arrays"] = _sum_of(file.parent.parent, header)
            header["checksums"]["manifest"] = manifest_checksum(header)
        file.write_text(json.dumps(header))
    for call in (lambda: vt.read(unfinished), lambda: tune(checkpoint=unfinished)):
        with pytest.raises(ValueError, match=says) as raised:
            call()
        assert str(unfinished) in str(raised.value)


def _sum_of(path, header):
    stored = checkpoint_files.read_tree(path / "arrays")
    return checkpoint_files.checksum(checkpoint_files.named("", header["arrays"], stored))


def test_leaves_of_another_program_are_no_cast(unfinished):
    """Of another version of optax, say: the equations are not compared then."""

    def read(header, read_checkpoint=checkpoint_files.read_checkpoint):
        found = read_checkpoint(header)
        return found._replace(carry=[leaf.astype(np.float16) for leaf in found.carry])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_files, "read_checkpoint", read)
        with pytest.raises(vt.CheckpointMismatchError, match=r"float16\[4\] as carry.*not int32"):
            tune(checkpoint=unfinished)
    assert tune(checkpoint=unfinished).trained.rounds == 6


def test_on_other_devices_it_goes_on_with_a_word(unfinished):
    with pytest.warns(UserWarning, match="begun, devices 1 here, 2 there"):
        sweep = tune(checkpoint=unfinished, layout=vt.Layout(devices=1))
    np.testing.assert_allclose(sweep.history["loss"], tune().history["loss"], rtol=1e-6)


def full(*given):
    raise OSError(28, "No space left on device")


def failing(times):
    """A write that fails so many times."""
    calls = []

    def write(*given, write=checkpoint_files.write_checkpoint):
        calls.append(given)
        (full if len(calls) <= times else write)(*given)

    return write


def test_a_save_that_fails_costs_nothing(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    whole = tune()
    monkeypatch.setattr(checkpoint_files, "write_checkpoint", failing(2))
    sweep = tune(checkpoint=vt.Checkpoint(tmp_path, rounds=1))
    assert_equal(sweep, whole)
    said = [str(warning.message) for warning in recwarn.list]
    assert len(said) == 1
    assert "could not be written ([Errno 28] No space left" in said[0]
    assert vt.read(tmp_path).trained.rounds == 6


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(tmp_path, monkeypatch, recwarn, caplog):
    limits, take = resource.getrlimit(resource.RLIMIT_FSIZE), keeper.Keeper.take_states

    def lifting(self, carry, done):
        take(self, carry, done)
        if done == 1:
            self._collect(wait=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(keeper.Keeper, "take_states", lifting)
    wide = LEARNER._replace(init=lambda key, h, batch: jax.random.normal(key, (5000,)))
    wide = wide._replace(measure=lambda key, h, x, batch, weight: (x**2).sum())
    wide = wide._replace(step=lambda key, h, x, batch: (x - h["lr"] * x, {}))
    whole = tune(wide)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        assert_equal(tune(wide, checkpoint=vt.Checkpoint(tmp_path, rounds=1)), whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (said,) = [str(warning.message) for warning in recwarn.list]
    assert "a checkpoint could not be written" in said
    assert "absl" not in [record.name for record in caplog.records]
    assert vt.load(tmp_path, wide).trained.rounds == 6


def test_where_nothing_could_be_saved_the_sweep_is_on_the_error(tmp_path, monkeypatch):
    whole = tune()

    monkeypatch.setattr(checkpoint_files, "write_checkpoint", failing(9))
    monkeypatch.setattr(sweep_files, "write_weights", full)
    with pytest.raises(vt.CheckpointSaveError, match="nothing could be saved there") as raised:
        tune(checkpoint=vt.Checkpoint(tmp_path / "run"))
    assert_equal(raised.value.sweep, whole)
    assert isinstance(raised.value, OSError)
    assert not (tmp_path / "run").exists()


def test_an_end_that_cannot_be_saved_is_said_where_there_is_a_checkpoint(unfinished, monkeypatch):
    monkeypatch.setattr(sweep_files, "write_weights", full)
    with pytest.warns(UserWarning, match="could not be saved .* are the first 2 rounds"):
        assert tune(checkpoint=unfinished).trained.rounds == 6
    assert vt.read(unfinished).trained.rounds == 2


def test_a_folder_that_is_removed_is_made_again(tmp_path, monkeypatch, stop):
    """While it runs; the first write after it finds nothing."""
    stop(3)
    run, segment = tmp_path / "run", keeper.Keeper.segment

    def removing(self, standing):
        if standing.done == 2:
            self._collect(wait=True)
            shutil.rmtree(run)
        return segment(self, standing)

    monkeypatch.setattr(keeper.Keeper, "segment", removing)
    assert tune(checkpoint=vt.Checkpoint(run, rounds=1)).trained.rounds == 3
    assert checkpoints(run)[0] == 3
    monkeypatch.setattr(keeper.Keeper, "segment", segment)
    stop(None)
    assert_equal(tune(checkpoint=run), tune())


def test_a_folder_that_may_not_be_written_to_is_named_at_once(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with refused(OSError, "checkpoint: .* cannot be made or written to"):
        tune(checkpoint=tmp_path / "run")


def test_long_rounds_are_said_once(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(keeper, "LONG_ROUND", 0.0)
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    tune(checkpoint=tmp_path)
    (said,) = [str(warning.message) for warning in recwarn.list]
    assert "a round takes 0 s" in said
    assert "give more rounds= than 6" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_segment_and_a_checkpoint_is_written(number, tmp_path, monkeypatch):
    seen, segment = [], keeper.Keeper.segment

    def asking(self, standing):
        if standing.done == 2:
            os.kill(os.getpid(), number)
            time.sleep(0)
        return segment(self, standing)

    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(keeper.Keeper, "segment", asking)
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("ended"))
    own = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.warns(UserWarning, match="interrupted: 2 of 6 rounds were run"):
            assert tune(checkpoint=tmp_path).trained.rounds == 2
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["ended"] * (number == signal.SIGTERM)
    assert checkpoints(tmp_path) == [2]
    monkeypatch.setattr(keeper.Keeper, "segment", segment)
    assert_equal(tune(checkpoint=tmp_path), tune())


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"path": 5}, TypeError, "Checkpoint: path must be the name of a folder"),
        ({"path": "s3://bucket/run"}, ValueError, "is not on this machine"),
        ({"path": ""}, ValueError, "cannot be the name of a folder"),
        ({"every": "60"}, TypeError, "every='60' must be a number"),
        ({"every": 0}, ValueError, "every=0 must be above 0"),
        ({"every": float("nan")}, ValueError, "every=nan must be above 0"),
        ({"every": True}, TypeError, "every=True must be a number"),
        ({"rounds": 0}, ValueError, "Checkpoint: rounds=0 must be a whole number, 1 or more"),
        ({"rounds": 1.5}, ValueError, "rounds=1.5"),
        ({"keep": 0}, ValueError, "keep=0"),
        ({"restart": 1}, TypeError, "restart=1 must be True or False"),
        ({"max_to_keep": 1}, TypeError, "write keep="),
    ],
)
def test_bad_settings_are_named_where_they_are_written(given, error, says):
    with pytest.raises(error, match=says):
        vt.Checkpoint(**{"path": "runs/a", **given})


@pytest.mark.parametrize("given", [5, True, b"runs", ["runs"]])
def test_what_is_no_folder_is_named_at_once(given, refused):
    for call in (tune, lambda **more: vt.extend(None, steps=1, **more)):
        with refused(TypeError, r"(tune|extend): checkpoint=.* must be the name of a folder"):
            call(checkpoint=given)


def test_settings_are_a_value():
    assert vt.Checkpoint("a") == vt.Checkpoint("a", every=60.0)
    assert dataclasses.replace(vt.Checkpoint("~"), keep=3).folder == Path.home()
