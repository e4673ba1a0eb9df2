"""Where several processes meet, seen in one that is told that there are others."""

import types
from collections import Counter

import jax
import numpy as np
import pytest
from problems import LR, quadratic

import vtune as vt
from vtune.results.trained import Trained
from vtune.runtime import gathering, processes
from vtune.runtime.compile import Free, build, free_in_all
from vtune.tuning.callbacks import Callbacks
from vtune.tuning.checkpoints import keeper

LEARNER = quadratic()
LATE = "DEADLINE_EXCEEDED: Barrier timed out. Some timed out task names:\n1\n\n"


def tune(**options):
    options = {"search": vt.Halton(4), "steps": 6, "rounds": 2, "progress": False, **options}
    return vt.tune(LEARNER, LR, **options)


@pytest.fixture
def barriers(monkeypatch):
    """The barriers that were asked for, by key: the seconds. One with "late" in it times out."""
    asked = {}

    def barrier(key, timeout_ms):
        if key.startswith("vtune"):  # Orbax has its own
            asked[key] = timeout_ms / 1000
        if "late" in key:
            raise RuntimeError(LATE)

    monkeypatch.delenv("VTUNE_PROCESS_TIMEOUT", raising=False)
    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "_meetings", Counter())
    monkeypatch.setattr("orbax.checkpoint.multihost.get_barrier_sync_fn", lambda **_: barrier)
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", lambda row: row[None])
    return asked


@pytest.fixture
def meetings(barriers, monkeypatch):
    """What the others were met for, in order."""
    seen, meet = [], processes.meet
    monkeypatch.setattr(
        processes, "meet", lambda what, long=False: (seen.append(what), meet(what, long))
    )
    return seen


def test_who_meets_alone_spoils_no_other_meeting(barriers):
    with pytest.raises(processes.MissingProcessError):
        processes.meet("late")
    processes.meet("save")
    processes.meet("save")
    assert list(barriers) == ["vtune 0: late", "vtune 0: save", "vtune 1: save"]


def test_who_comes_late_to_a_meeting_comes_in_time_to_the_next(barriers, monkeypatch):
    came = []

    def barrier(key, timeout_ms):
        came.append(key)
        if len(came) == 1:
            raise RuntimeError(LATE.replace("1", "0"))  # it was waited for here, and no longer is

    monkeypatch.setattr("orbax.checkpoint.multihost.get_barrier_sync_fn", lambda: barrier)
    processes.meet("weights")
    assert came == ["vtune 0: weights", "vtune 1: weights"]


def fails():
    raise LookupError("no such log")


def in_a_block():
    with processes.together("late"):
        fails()


@pytest.mark.parametrize(
    "call",
    [
        in_a_block,
        lambda: processes.agreed(fails),
        lambda: processes.first_does("late", fails),
    ],
    ids=["together", "agreed", "first_does"],
)
def test_ones_own_failure_is_raised_where_others_do_not_come(call, barriers, monkeypatch):
    monkeypatch.setattr(processes, "_missing", lambda what, seconds, said: f"missing: {what}")
    monkeypatch.setattr(
        "orbax.checkpoint.multihost.get_barrier_sync_fn", lambda: lambda **_: fails_late()
    )
    with pytest.raises(LookupError, match="no such log") as raised:
        call()
    assert isinstance(raised.value.__cause__, processes.MissingProcessError)


def fails_late():
    raise RuntimeError(LATE)


def test_others_are_missing_where_nothing_failed_here(barriers):
    with pytest.raises(processes.MissingProcessError, match="process 1 did not come here within"):
        processes.first_does("late", lambda: 1)


def test_callbacks_cannot_meet_the_others(barriers, caplog):
    ask = lambda given: processes.meet("the weights of member 3")
    asks = types.SimpleNamespace(begin=ask, rounds=ask, end=ask)
    told = lambda: Callbacks((asks,), None, ())
    with pytest.raises(RuntimeError, match="the weights of member 3: not in a callback"):
        told().begin(None)
    listening = told()
    listening._report = lambda standing, seconds: types.SimpleNamespace(round=3)
    assert listening.segment(None) is None
    told().end(None)
    assert caplog.text.count("not in a callback. All processes must do this together") == 2
    assert barriers == {}  # it is said at once
    processes.meet("the weights of member 3")
    assert len(barriers) == 1


def test_what_a_run_meets_for(barriers, meetings, tmp_path):
    """The others wait for as long as it lives where process 0 works alone; and what is agreed of
    memory is agreed anew where the program is there."""
    events = []
    heard = types.SimpleNamespace(end=lambda sweep: events.append("end"), most_rounds=1)
    for number in range(2):
        tune(callbacks=[heard], checkpoint=tmp_path / str(number))
    folders = [f"the checkpoints in {tmp_path / str(number)}" for number in range(2)]
    for folder in folders:
        saving = folder.replace("the checkpoints in", "saving to")
        expected = [
            *("vt.tune", "comparing the calls", "comparing the calls", folder, folder, folder),
            *("callbacks", "the next run", "predicting memory", "compiling"),
            *["between two rounds"] * 3,
            *("the callbacks' end", saving, saving, "the end of the run"),
        ]
        assert meetings[: len(expected)] == expected
        del meetings[: len(expected)]
    assert (meetings, events) == ([], ["end", "end"])
    short, long = processes.PATIENCE, processes.LONG
    of_first = folders[0], folders[0].replace("the checkpoints in", "saving to")
    seconds = {key.partition(": ")[2]: [] for key in barriers}
    for key, waited in barriers.items():
        seconds[key.partition(": ")[2]].append(waited)
    assert seconds[of_first[0]] == [short, long, long]
    assert seconds[of_first[1]] == [short, long]
    for what in ("callbacks", "between two rounds", "the callbacks' end"):
        assert set(seconds[what]) == {long}
    for what in ("vt.tune", "comparing the calls", "the next run", "compiling"):
        assert set(seconds[what]) == {short}


def test_they_meet_before_states_are_gathered(meetings, monkeypatch):
    monkeypatch.setattr(keeper, "on_first_host", lambda carry: meetings.append("gather"))
    ending = object.__new__(keeper.Keeper)
    ending._folder, ending._end = "runs/a", lambda outcome, sweep: meetings.append("write")
    ending._prepared = types.SimpleNamespace(plan=types.SimpleNamespace(layout=None))
    ending.end(keeper.Outcome((), 1, None, 0.0, 0.0), None)
    assert meetings == ["saving to runs/a", "gather", "write", "saving to runs/a"]


def test_what_must_meet_does_so_before_one_can_fail_alone(meetings, monkeypatch):
    """What is wrong with `progress=` is told to the others."""
    sweep = tune()
    meetings.clear()
    state_of, here = Trained.state_of, Trained.with_states_here
    monkeypatch.setattr(
        Trained,
        "state_of",
        lambda self, column: (meetings.append("state"), state_of(self, column))[1],
    )
    monkeypatch.setattr(
        Trained,
        "with_states_here",
        lambda self, what: (meetings.append("states"), here(self, what))[1],
    )
    with pytest.raises(TypeError, match="progress='yes' must be True"):
        vt.extend(sweep, steps=2, progress="yes")
    assert meetings == ["vt.extend", "states", "vt.extend"]
    meetings.clear()
    with pytest.raises(TypeError, match="progress='yes' must be True"):
        tune(progress="yes")
    assert meetings == ["vt.tune"]
    meetings.clear()
    with pytest.raises(ValueError, match="seed=-1"):
        tune(init_from=sweep.best, seed=-1)
    assert meetings == ["state", "vt.tune"]


def test_what_is_told_has_any_length(barriers, monkeypatch):
    asked, gather = [], lambda row: (asked.append(row.shape), np.stack([row, row]))[1]
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", gather)
    for length in (0, 1, 1013, 1014, 1015, 2038, 2039, 5000):
        value = "a" * length
        assert processes.told_by_all("lengths", value) == [value, value]
    assert set(asked) == {(processes.SMALL,)}  # one program for all


def test_the_least_memory_of_all_is_the_limit(barriers, monkeypatch):
    plan = tune(search=vt.Halton(3)).trained.plan
    told = lambda what, here, long=False: [here, least]
    monkeypatch.setattr(processes, "told_by_all", told)
    least = 10
    assert free_in_all(plan) == Free(10)
    build.cache_clear()
    with pytest.raises(MemoryError, match="the limit is 10 bytes"):
        build(plan, free_in_all(plan))
    least = 2**50
    assert 10 < free_in_all(plan).bytes < 2**50
    least = None
    assert free_in_all(plan).bytes > 10
    built = build(plan, Free(2**30))
    assert build(plan, Free(2**31)) is built  # what is there is used again
    assert built.limit == 2**30


def over_two(values, axis):
    """An array of which each of two devices has a half; whole on both where `axis` is None."""
    mesh = jax.make_mesh((2,), ("pop",), devices=jax.devices()[:2])
    spec = jax.P() if axis is None else jax.P(*[None] * axis, "pop")
    return jax.device_put(values, jax.sharding.NamedSharding(mesh, spec))


@pytest.mark.parametrize("row", [None, 0, 3])
@pytest.mark.parametrize(("at_once", "part"), [(1 << 20, 1 << 20), (64, 16)])
def test_arrays_come_to_the_hosts_as_they_are(at_once, part, row, monkeypatch):
    """Of any type and layout, in any number of parts."""
    asked, gather = [], lambda row: (asked.append(row.shape), row[None])[1]
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", gather)
    monkeypatch.setattr(gathering, "AT_ONCE", at_once)
    monkeypatch.setattr(processes, "SMALL", part)
    monkeypatch.setattr(processes, "LARGE", part)
    whole = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    arrays = [
        over_two(values.astype(dtype), axis)
        for values, axis in ((whole, 0), (whole, 1), (whole, None), (whole[:, 0, 0], 0))
        for dtype in (np.float32, bool, jax.numpy.bfloat16, jax.numpy.int4)
    ]
    arrays.append(over_two(np.zeros((4, 0), np.float32), 0))
    expected = [np.array(array)[slice(None) if row is None else [row]] for array in arrays]
    found = gathering.gathered(arrays, row=row)
    assert [a.dtype for a in found] == [a.dtype for a in expected]
    for one, other, array in zip(found, expected, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        held = (np.asarray(shard.data) for shard in array.addressable_shards)
        assert not any(np.shares_memory(one, own) for own in held)  # the carry is donated
    count = len(asked)
    assert set(asked) == {(part,)}  # one program for all
    assert gathering.gathered(arrays, keep=False, row=row) is None
    assert len(asked) == 2 * count  # who wants nothing takes part
