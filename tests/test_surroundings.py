"""What surrounds a sweep: settings of JAX, the error stream, Ctrl-C, other processes."""

import contextlib
import gc
import importlib.util
import io
import os
import signal
import sys
import types
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import blobs, mlp_learner, quadratic

import vtune as vt
from vtune.engine.layout import _some
from vtune.engine.plan import CohortPlan
from vtune.engine.stepping import Stepping
from vtune.hparams import Static
from vtune.results.report import Best
from vtune.runtime import execute, processes, segments, surroundings
from vtune.sklearn import Ridge
from vtune.sklearn.training.padded_folds import padded_folds
from vtune.tuning import progress
from vtune.tuning.checkpoints.beginning import Finder

QUADRATIC = quadratic()
LR = {"lr": vt.Float(0.1, 0.5)}
FOLDS = vt.kfold({"x": np.ones((12, 2), np.float32)}, k=3)
OPTIONS = {"search": vt.Halton(4), "steps": 6, "rounds": 6}


def tune(**options):
    return vt.tune(QUADRATIC, LR, **{**OPTIONS, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"refiner": vt.PB2(), "data": FOLDS, "batch_size": 4},
        {"refiner": vt.Halving()},
    ],
    ids=["pb2", "halving"],
)
def test_a_healthy_sweep_has_no_nan_and_no_hidden_transfer(options):
    """What is not there becomes NaN on the host."""
    with jax.debug_nans(True), jax.transfer_guard("disallow"):
        sweep = tune(**options)
    assert np.isfinite(sweep.scores).all()
    loss = sweep.history["loss"]
    gone = np.arange(6)[:, None] >= sweep.trained.lived
    assert (np.isnan(loss) == gone).all()


def test_a_member_that_stopped_has_no_history():
    """With a rate of 2, the loss is the same after every step."""
    space = {"lr": vt.Ordinal([2.0, 0.5])}
    with jax.debug_nans(True):
        sweep = vt.tune(QUADRATIC, space, **{**OPTIONS, "search": vt.Grid()}, patience=2)
    loss = sweep.history["loss"]
    assert np.isnan(loss).sum(axis=0).tolist() == [3, 0]
    assert np.isnan(sweep.history["train/loss"]).sum(axis=0).tolist() == [3, 0]
    assert loss[:3, 0].tolist() == [0.5, 0.5, 0.5]


def test_debug_nans_raises_where_a_member_diverged():
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="became NaN"):
        vt.tune(QUADRATIC, {"lr": vt.Float(1e20, 2e20)}, **OPTIONS)


def test_without_jit_it_is_said_how_to_go_on(compilations):
    with (
        jax.disable_jit(),
        compilations() as compiled,
        pytest.raises(RuntimeError, match=r"with jax.disable_jit\(False\):"),
    ):
        tune()
    assert compiled.count == 0


class Broken(io.StringIO):
    """A terminal that goes away."""

    left = 3

    def isatty(self):
        return True

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError("Input/output error")
        return super().write(text)


class NoStream:
    """Has neither isatty nor write."""


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize(
    "stream", [None, "closed", NoStream(), Broken()], ids=["None", "closed", "no stream", "broken"]
)
def test_no_error_stream_costs_a_sweep(stream, progress, monkeypatch):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(tune(progress=progress)) == 4


def interrupting(monkeypatch, at):
    """Presses Ctrl-C before a round."""

    def report(phase, done, best):
        if phase == "run" and done == at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr("vtune.tuning.launch.reporter", lambda *_: contextlib.nullcontext(report))


def test_ctrl_c_is_answered_with_a_word_and_loses_nothing(monkeypatch, capsys, caplog):
    """Warnings are errors in these tests, as with `python -W error`."""
    interrupting(monkeypatch, 2)
    sweep = tune()
    assert sweep.trained.rounds == 3
    assert "stops after this round; Ctrl-C again" in capsys.readouterr().err
    assert "interrupted: 3 of 6 rounds were run" in caplog.text


def test_warnings_name_the_line_that_calls_vtune(monkeypatch):
    learner = quadratic()
    few = {"space": {**LR, "two": vt.Categorical([1, 2])}, "search": vt.Halton(1)}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for given in ({"space": {**LR, "unread": 1.0}, "refiner": vt.PBT(9)}, few):
            given = {**OPTIONS, **given, "progress": "refused before anything is compiled"}
            with pytest.raises(TypeError, match="progress="):
                vt.tune(learner, **given)
        flat = mlp_learner(loss=lambda outputs, batch, h: jnp.ones(len(outputs)))
        with pytest.raises(TypeError, match="progress="):  # warned of while JAX traces
            vt.tune(flat, LR, blobs(), steps=1, batch_size=16, progress="refused")
        interrupting(monkeypatch, 2)
        tune()
    says = ["'unread'", "never acts", "combinations", "'two' in the space", "no gradient"]
    says += ["interrupted"]
    assert all(word in str(w.message) for word, w in zip(says, seen, strict=True))
    assert {warning.filename for warning in seen} == {__file__}


def test_ctrl_c_while_compiling_is_answered_when_it_is_over(monkeypatch, capsys):
    build, before = execute.build, signal.getsignal(signal.SIGINT)

    def interrupted(plan):
        os.kill(os.getpid(), signal.SIGINT)
        compiled.append(plan)

    interrupted.cache_info = build.cache_info
    compiled = []
    monkeypatch.setattr(execute, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune()
    assert len(compiled) == 1
    assert "stops when compiling is done" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupting(monkeypatch, 2)
        assert tune().trained.rounds == 6
    finally:
        signal.signal(signal.SIGINT, before)


def test_several_processes_without_a_coordinator_are_refused(monkeypatch, compilations):
    sweep = tune()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    calls = [
        lambda: vt.tune(quadratic(), LR, **OPTIONS),
        lambda: vt.extend(sweep, steps=6),
        lambda: sweep.rerun(0),
    ]
    with compilations() as compiled:
        for call in calls:
            with pytest.raises(RuntimeError, match=r"call jax\.distributed\.initialize\(\)"):
                call()
    assert compiled.count == 0


def test_what_is_not_there_for_several_processes(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match=r"an estimator of vtune\.sklearn: 2 processes"):
        Ridge().fit(np.ones((8, 2)), np.arange(8.0))
    with jax.debug_nans(True), pytest.raises(RuntimeError, match="vtune with jax_debug_nans or"):
        surroundings.check_surroundings("vtune")


def test_what_is_said_of_a_process_that_does_not_come():
    """By the text that the coordination service of JAX gives."""
    late = (
        "DEADLINE_EXCEEDED: Barrier timed out. Id: late::0. This usually happens because a task "
        "triggered the barrier too early or too slowly. Please look at the task logs (both timed "
        "out and first task) to debug further.\n# of tasks that reached the barrier: 1/3.\nThe "
        "first task at the barrier: 0. Some timed out task names:\n1\n2\n\n\nRPC: /xla"
    )
    said = processes._missing("save", 5.0, late)
    assert said.startswith("save: processes 1, 2 did not come here within 5 s")
    died = (
        "INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat "
        "timeout. This indicates that the remote task has failed"
    )
    assert processes._missing("save", 5.0, died).startswith("save: process 1 has died. Start all")
    other = processes._missing("save", 5.0, "UNAVAILABLE: no coordinator\nmore")
    assert other == "save: the processes could not meet (UNAVAILABLE: no coordinator)"


def test_a_program_that_fails_beside_others_says_what_to_do(monkeypatch):
    failed = jax.errors.JaxRuntimeError("UNKNOWN: Gloo: Connection closed by peer")
    with pytest.raises(jax.errors.JaxRuntimeError), processes.ending_together():
        raise failed
    monkeypatch.setattr(processes, "several", lambda: True)
    match = "process 0: UNKNOWN: Gloo: Connection closed by peer.*another process has died. Start"
    with pytest.raises(RuntimeError, match=match), processes.ending_together():
        raise failed


def test_a_folder_that_another_process_cannot_read(tmp_path):
    finder = Finder(vt.Checkpoint(tmp_path), None, None)
    with pytest.raises(
        ValueError, match=r"process 0 read it, this one cannot .*shared file system"
    ):
        finder.follow(False, str(tmp_path / "3"))


def test_a_number_of_seconds_to_wait_for_other_processes(monkeypatch):
    monkeypatch.setenv("VTUNE_PROCESS_TIMEOUT", "0.5")
    assert processes.patience() == 0.5
    monkeypatch.setenv("VTUNE_PROCESS_TIMEOUT", "long")
    with pytest.raises(ValueError, match="VTUNE_PROCESS_TIMEOUT='long' must be a number"):
        processes.patience()


def test_devices_are_taken_evenly_from_all_processes():
    """Three of two processes' four: every process has one at least."""
    device = lambda process: types.SimpleNamespace(process_index=process)
    devices = [device(process) for process in (0, 0, 0, 1)]
    assert _some(devices, 2) == [devices[0], devices[3]]
    assert _some(devices, 3) == [devices[0], devices[1], devices[3]]
    assert _some(devices, 4) == devices


def test_a_forked_process_is_refused(monkeypatch):
    tune()
    monkeypatch.setattr(surroundings.os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match=r'get_context\("spawn"\)'):
        tune()


def reported(show, capsys):
    """What is written of a sweep of 4 rounds, of which two are run."""
    best = Best(5, 0.5, {"lr": 0.123456, "width": 8, "act": jnp.tanh})
    with progress.reporter(show, 4, 8, 2, "loss", lambda carry, done: (best, 6)) as report:
        report("compile", 0, None)
        for done in (0, 1, 2):
            report("run", done, done or None)
        report("done", 2, 2)
    return capsys.readouterr().err.splitlines()


def test_lines_are_written_where_there_is_no_terminal(monkeypatch, capsys):
    assert reported(None, capsys) == []  # over in less than 10 s
    (summary,) = reported(True, capsys)
    assert summary.startswith("vtune: 8 members, 2 rounds: compiled in 0.0 s, ran in 0.0 s. best")
    for name in ("QUIET", "EVERY"):
        monkeypatch.setattr(progress, name, 0.0)
    leads = "best loss 0.5 (lr=0.1235, width=8, act=tanh), 6 of 8 alive, 0:00 left"
    assert reported(None, capsys)[:-1] == [
        f"vtune: round 1/4, {leads}",
        f"vtune: round 2/4, {leads}",
    ]
    monkeypatch.setattr(progress.threading, "Timer", AtOnce)
    assert [line.split(" s,")[0] for line in reported(None, capsys)[:3]] == [
        "vtune: compiling, for 8 members of 2 structural combinations, 4 rounds",
        "vtune: still compiling after 0:00",
        "vtune: compiled in 0.0",
    ]
    assert [progress._clock(s) for s in (5, 100, 7205)] == ["0:05", "1:40", "2:00:05"]


class AtOnce:
    """A timer that does not wait the first two times."""

    made = 0

    def __init__(self, seconds, call, arguments):
        AtOnce.made += 1
        self.start = (lambda: call(*arguments)) if AtOnce.made < 3 else (lambda: None)

    def cancel(self):
        pass


def test_a_notebook_shows_a_bar(monkeypatch):
    """Where there are ipywidgets, which rich needs for it."""
    shells = pytest.importorskip("rich.console")
    shell = type("ZMQInteractiveShell", (), {})()
    assert not progress._is_notebook()
    monkeypatch.setattr(shells, "get_ipython", lambda: shell, raising=False)
    find = importlib.util.find_spec
    for there in (True, False):
        found = lambda name, there=there: (there or None) if name == "ipywidgets" else find(name)
        monkeypatch.setattr(importlib.util, "find_spec", found)
        assert progress._is_notebook() is there


def test_progress_is_a_yes_or_no(refused):
    with refused(TypeError, "progress='yes' must be True"):
        tune(progress="yes", steps=5, rounds=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 2**31}, "2,147,483,648 steps are more than are counted in 32 bits"),
        ({"steps": 3 * 10**9, "rounds": 2}, "3,000,000,000 steps are more"),
        ({"search": vt.Grid({"lr": 10**9})}, "1,000,000,000 settings; give 'lr' fewer points"),
    ],
    ids=["steps", "rounds", "grid"],
)
def test_numbers_too_large_are_refused_at_once(options, message, refused):
    with refused(ValueError, message):
        tune(**options)


def test_a_grid_of_a_whole_range_is_refused_at_once():
    with pytest.raises(ValueError, match=r"Grid: 1,000,000,001 settings; give 'n' fewer points"):
        vt.tune(QUADRATIC, {**LR, "n": vt.Int(0, 10**9)}, search=vt.Grid({"lr": 2}), steps=5)


def test_rounds_times_epochs_may_be_more_than_is_counted():
    """A lone fit of scikit-learn's interface has as many rounds as epochs."""
    data = padded_folds({"x": np.ones((9, 1))}, [np.arange(9)], [np.arange(0)], 9, common=False)
    count = 50_000
    cohort = CohortPlan(Static({}), (), 1, 4, 2 * count, 2, ())
    start, end = Stepping(cohort, count, data).bounds(jax.numpy.int32(count - 1))
    assert (start.tolist(), end.tolist()) == ([2 * count - 2], [2 * count])


def test_a_sweep_cannot_grow_beyond_what_is_counted():
    with pytest.raises(ValueError, match="2,147,483,653 steps"):
        vt.extend(tune(), steps=2**31 - 1)


def test_learners_that_close_over_data_are_freed():
    """JAX's own caches keep none of them, and vtune's can be emptied."""

    class Held:
        pass

    def closing_over(held):
        learner = quadratic()
        step = learner.step
        return learner._replace(step=lambda *arguments: (held, step(*arguments))[1])

    held = Held()
    alive = weakref.ref(held)
    sweep = vt.tune(closing_over(held), LR, **OPTIONS)
    sweep.table()
    sweep.rerun(0)
    del held, sweep
    vt.clear_caches()
    gc.collect()
    assert alive() is None
