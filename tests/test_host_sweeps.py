"""Sweeps on data that stay on the host: those in memory to the bit, read ahead, and what fails."""

import contextlib
import os
import signal
import threading
import time
import types
import weakref

import jax
import numpy as np
import optax
import pytest
from problems import LR, MLP
from solo import xent

import vtune as vt
from vtune.engine import stepping
from vtune.runtime.compile import build
from vtune.runtime.feeding import rounds as feeding
from vtune.runtime.windows import with_window
from vtune.tuning import same_call
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

ROWS, BATCH = 96, 8
SPACE = {**LR, "width": 8}
STRUCTURES = {**LR, "width": vt.Categorical([4, 8])}
UNLIKE = [(np.arange(60), np.arange(60, 96)), (np.arange(40, 70), np.arange(12))]


def learner():
    return vt.flax_learner(
        lambda h: MLP(h["width"], classes=2),
        optimizer=lambda h: optax.sgd(h["lr"], momentum=0.9),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy, "auc": vt.metrics.roc_auc},
    )


LEARNER = learner()


@pytest.fixture(autouse=True)
def chunks_of_two_steps(monkeypatch):
    monkeypatch.setattr(stepping, "GATHER_BYTES", 2 * BATCH * 28)


def columns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    x = rng.normal(size=(ROWS, 6)) + y[:, None]
    return {"x": x, "y": y}  # of float64 and int64


def tune(data, space=SPACE, **options):
    options = {"search": vt.Halton(8), "epochs": 3, "batch_size": BATCH, "seed": 3, **options}
    return vt.tune(LEARNER, space, data, metric="accuracy", mode="max", **options)


def prepared(data):
    options = {"search": vt.Halton(8), "epochs": 3, "batch_size": BATCH}
    return prepare(TuneArguments(learner=LEARNER, space=SPACE, data=data, **options))


def holdout(on):
    return vt.standardize(vt.holdout(columns(), 0.3, test=0.1, on=on), "x")


def folds(on):
    return vt.standardize(vt.kfold(columns(), UNLIKE, on=on), "x")


def check_same(one, other):
    assert one.history.keys() == other.history.keys()
    for name in one.history:
        np.testing.assert_array_equal(one.history[name], other.history[name], err_msg=name)
    check_member(one.best, other.best)


def check_member(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)


CASES = {
    "rounds that end within epochs": (holdout, {"epochs": None, "steps": 17, "rounds": 3}),
    "PBT, two batch sizes": (
        holdout,
        {
            "space": STRUCTURES,
            "batch_size": lambda h: BATCH if h["width"] == 8 else 6,
            "refiner": vt.PBT(),
        },
    ),
    "halving": (holdout, {"refiner": vt.Halving(), "epochs": 4}),
    "unlike folds, seeds, their own epochs": (
        folds,
        {"search": vt.Halton(3), "seeds": 2, "epochs": lambda h: 1 + (h["lr"] > 0.01)},
    ),
    "patience, the best weights": (
        holdout,
        {"space": STRUCTURES, "patience": 1, "keep": "best", "epochs": 8, "layout": "vmap"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_sweep_in_memory(case):
    data, options = CASES[case]
    if callable(options.get("epochs")):  # a traced number of epochs
        options = {**options, "space": {**SPACE, "e": vt.Int(1, 3)}, "epochs": lambda h: h["e"]}
    memory, host = (tune(data(on), **options) for on in ("device", "host"))
    check_same(memory, host)


@pytest.fixture(scope="module")
def plain():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stepping, "GATHER_BYTES", 2 * BATCH * 28)
        return tuple(tune(holdout(on), eval_batch_size=10) for on in ("device", "host"))


def test_what_goes_on_with_one_is_the_same(plain, tmp_path):
    memory, host = plain
    check_same(memory, host)
    check_same(*(vt.extend(sweep, epochs=2, refiner=vt.PBT()) for sweep in plain))
    check_member(memory.rerun(3), host.rerun(3))
    check_same(*(sweep.retrain(top=2, seeds=2).sweep for sweep in plain))
    for name, values in memory.evaluate().items():
        np.testing.assert_array_equal(values, host.evaluate()[name])
    new = columns()["x"][:5]
    np.testing.assert_array_equal(memory.predict({"x": new}), host.predict({"x": new}))
    host.save(tmp_path / "saved")
    loaded = vt.load(tmp_path / "saved", LEARNER)
    check_member(loaded.rerun(3, data=holdout("host")), host.rerun(3))


@pytest.mark.parametrize(("first", "then"), [("device", "host"), ("host", "device")])
def test_a_checkpoint_goes_on_wherever_the_data_lie(first, then, plain, tmp_path):
    options = {"eval_batch_size": 10, "checkpoint": tmp_path}
    stop = lambda report: vt.STOP if report.stop == 2 else None
    tune(holdout(first), **options, callbacks=[stop])
    check_same(tune(holdout(then), **options), plain[0])
    check_same(tune(holdout(first), **options), plain[0])  # finished


def test_several_processes_have_their_data_in_the_same_place(monkeypatch):
    told = []
    stand_in = types.SimpleNamespace(
        several=lambda: True,
        together=lambda *where: contextlib.nullcontext(),
        told_by_all=lambda where, asked: told.append(asked) or told,
    )
    monkeypatch.setattr(same_call, "processes", stand_in)
    for on in ("device", "device"):
        same_call.check_same_call(prepared(holdout(on)), None, None)
    says = 'process 2: where the data lie: "on the host" on it, "on the device" on process 0'
    with pytest.raises(ValueError, match=says) as caught:
        same_call.check_same_call(prepared(holdout("host")), None, None)
    assert 'so write on="host" or on="device" where the data are made' in str(caught.value)


def test_two_executables_at_most(compilations):
    data, new = holdout("host"), learner()
    options = {"search": vt.Halton(4), "epochs": 2, "batch_size": BATCH, "refiner": vt.PBT()}
    run = lambda data, seed=1: vt.tune(new, STRUCTURES, data, seed=seed, **options)
    jax.clear_caches()
    with compilations() as first:
        run(data)
    with compilations() as second, jax.transfer_guard("disallow"):
        run(data, seed=2)
        run(holdout("host"))
    assert (first.count, second.count) == (2, 0)  # the program, and the order of an epoch


class Source:
    """Rows of an array; reading fails at a number."""

    def __init__(self, values, fails_at=None):
        self.values, self.fails_at = values, fails_at
        self.shape, self.dtype = values.shape, values.dtype
        self.reads, self.threads = 0, set()
        self.hang = lambda rows: None

    def __getitem__(self, rows):
        self.reads += 1
        self.hang(rows)
        self.threads.add(threading.current_thread().name)
        if self.fails_at is not None and self.reads >= self.fails_at:
            raise OSError("the disk is gone")
        return self.values[rows]


def sourced(fails_at=None):
    rows = columns()
    source = Source(rows["x"].astype(np.float32))
    data = vt.holdout({"x": source, "y": rows["y"]}, 0.3, on="host")
    source.fails_at = fails_at and source.reads + fails_at
    return source, data


def test_two_windows_live(monkeypatch, plain):
    source, data = sourced()
    windows, most = [], []
    send = feeding.FedRounds._send

    def counted(self, rows):
        window = send(self, rows)
        windows.append(weakref.ref(window.arrays["x"]))
        most.append(sum(array() is not None for array in windows))
        return window

    monkeypatch.setattr(feeding.FedRounds, "_send", counted)
    check_same(tune(data, eval_batch_size=10, epochs=2), tune(data, eval_batch_size=10, epochs=2))
    assert max(most) == 2
    assert {"vtune-reader"} <= source.threads
    assert "vtune-reader" not in {thread.name for thread in threading.enumerate()}


def test_a_source_that_fails_leaves_the_rounds_before(tmp_path):
    whole = tune(sourced()[1])
    reads = sourced(1000)
    tune(reads[1], epochs=1)
    in_round = reads[0].reads - 1
    source, data = sourced(in_round + 3)  # the third chunk of the second round
    says = "the rows of steps 10 to 11 of 'x', Source could not be read: OSError: the disk is gone"
    with pytest.raises(vt.SourceError, match=says) as caught:
        tune(data, checkpoint=tmp_path)
    then = "What was trained before is error.sweep, 1 round; the same call goes on"
    assert then in str(caught.value)
    assert caught.value.reason.endswith("OSError: the disk is gone")
    assert isinstance(caught.value.__cause__, OSError)
    kept = caught.value.sweep
    assert set(kept.table()["status"]) == {"source failed after round 0"}
    check_same(kept, tune(sourced()[1], epochs=1))
    source.fails_at = None
    check_same(tune(data, checkpoint=tmp_path), whole)


def test_a_source_may_be_closed_when_the_sweep_is_saved(tmp_path):
    source, data = sourced()
    sweep = tune(data)
    source.fails_at = 0
    sweep.save(tmp_path / "saved")
    sweep.report(tmp_path / "report.html")
    source.fails_at = None
    loaded = vt.load(tmp_path / "saved", LEARNER)
    check_member(loaded.rerun(1, data=sourced()[1]), sweep.rerun(1))


@pytest.mark.parametrize("at_round", [1, 2], ids=["the first round", "the second"])
def test_a_source_that_fails_leaves_the_generations_before(at_round):
    optuna = pytest.importorskip("optuna")
    ends = []

    class Look:
        def rounds(self, report):
            if report.stop == 2 * 2 + at_round - 1:  # the third generation's
                source.fails_at = source.reads + 2

        def end(self, sweep):
            ends.append(sweep)

    how = vt.Generations(optuna.samplers.RandomSampler(seed=1), size=2, generations=4)
    source, data = sourced()
    with pytest.raises(vt.SourceError, match="could not be read: OSError") as caught:
        tune(data, search=how, epochs=2, callbacks=[Look()])
    assert str(caught.value).endswith("gone. What was trained before is error.sweep, 2 generations")
    assert isinstance(caught.value.__cause__, OSError)
    kept = caught.value.sweep
    assert kept.table()["generation"].tolist() == [0, 0, 1, 1]
    assert set(kept.table()["status"]) == {"completed"}
    assert kept.best.variables is not None
    assert ends == [kept]


def test_a_first_round_that_fails_leaves_nothing(monkeypatch):
    def failing(data, count):
        raise ValueError("no")

    data = holdout("host")
    monkeypatch.setattr(type(data), "read_first", failing)
    with pytest.raises(vt.SourceError, match="the first training rows could not be read") as caught:
        tune(data)
    assert caught.value.sweep is None


def test_settings_of_the_callers_thread_hold():
    with jax.enable_x64(True):
        check_same(*(tune(holdout(on), search=vt.Halton(2), epochs=1) for on in ("device", "host")))


def test_features_of_rows_on_the_host_are_not_kept(refused):
    with refused(ValueError, 'rows lie on the host, .* for each batch, or write on="device"'):
        tune(holdout("host"), cache_features=True)


def test_what_is_kept_after_a_round_is_counted():
    found = []
    for rounds in (1, 2):
        prepared = prepare(
            TuneArguments(
                learner=LEARNER,
                space=SPACE,
                data=holdout("host"),
                steps=8,
                rounds=rounds,
                batch_size=BATCH,
            )
        )
        plan, _ = with_window(prepared.plan, prepared.arguments)
        found.append(build(plan).bytes)
    states = 64 * 2 * 4 * (6 * 8 + 8 + 8 * 2 + 2)  # weights and momentum
    assert found[1] - found[0] > states


def test_its_cost_is_that_of_its_program():
    memory, host = (
        vt.cost(LEARNER, SPACE, holdout(on), search=vt.Halton(4), epochs=1, batch_size=BATCH)
        for on in ("device", "host")
    )
    assert host.kernels == memory.kernels
    assert host.floor_bytes_per_member == memory.floor_bytes_per_member
    assert host.flops == memory.flops


def test_a_source_that_hangs_does_not_hold_up_who_interrupts():
    """Ctrl-C once more raises at once, and the thread does not keep the process."""
    source, data = sourced()
    hangs, asked = threading.Event(), threading.Event()

    def hang(rows):
        if threading.current_thread().name == "vtune-reader":
            asked.set()
            hangs.wait()

    def press():
        asked.wait()
        for _ in range(2):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

    source.hang = hang
    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            tune(data)
    finally:
        hangs.set()
