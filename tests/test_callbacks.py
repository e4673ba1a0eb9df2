"""Callbacks: what they are told, what they answer, and what they may not cost."""

import functools
import logging
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vtune as vt
from vtune.runtime import segments

LEARNER = vt.Learner(
    init=lambda key, h, batch: jnp.ones(()),
    step=lambda key, h, x, batch: (x - h["lr"] * h["width"] * x, {"loss": x**2 / 2}),
    measure=lambda key, h, x, batch, weight: x**2 / 2,
    score=lambda total: {"loss": total},
)
SPACE = {"lr": vt.Float(0.1, 0.5), "width": vt.Categorical([1, 2])}
FOLDS = vt.kfold({"x": np.ones((12, 2), np.float32)}, k=3)
OPTIONS = {"search": vt.Halton(8), "steps": 9, "rounds": 9, "seed": 3}
KINDS = {
    "plain": {},
    "pbt": {"refiner": vt.PBT(2)},
    "halving": {"refiner": vt.Halving()},
    "folds": {"data": FOLDS, "batch_size": 4, "seeds": 2, "patience": 2, "mode": "max"},
}


def tune(**options):
    return vt.tune(LEARNER, SPACE, **{**OPTIONS, **options})


class Listener:
    """Notes what it is told. Reports have three rounds each, but for the first and the last."""

    most_rounds = 3

    def __init__(self):
        self.told, self.run, self.reports, self.sweep = [], None, [], None

    def begin(self, run):
        self.told.append("begin")
        self.run = run

    def rounds(self, report):
        self.told.append((report.first, report.stop))
        self.reports.append(report)

    def end(self, sweep):
        self.told.append("end")
        self.sweep = sweep

    def joined(self, name):
        parts = [getattr(report, name) for report in self.reports]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def equal(a, b):
    same = functools.partial(np.array_equal, equal_nan=True)
    return all(same(*pair) for pair in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.filterwarnings("ignore:mode=")  # so that members run out of patience
@pytest.mark.parametrize("kind", KINDS)
def test_every_round_is_told_once_and_changes_nothing(kind, compilations):
    """What is told, joined, is the history to the bit; both sweeps are one program."""
    listener = Listener()
    vt.clear_caches()
    with compilations() as compiled:
        heard = tune(callbacks=[listener], **KINDS[kind])
        alone = tune(**KINDS[kind])
    assert compiled.count == 1
    assert listener.told == ["begin", (0, 1), (1, 4), (4, 7), (7, 9), "end"]
    assert listener.sweep is heard
    for sweep in (heard, alone):
        assert equal(listener.joined("history"), sweep.history)
        assert equal(listener.joined("settings"), sweep.settings)
        assert equal(listener.joined("parents"), sweep.parents)
        assert list(listener.joined("history")) == list(sweep.history)
    states = [[m.state for m in s if "dropped" not in m.status] for s in (heard, alone)]
    assert equal(*states)
    last = listener.reports[-1]
    assert last.scores.tolist() == alone.scores.tolist()
    best = alone.best
    assert (last.best.index, last.best.hparams) == (best.index, best.hparams)
    assert last.best.score == pytest.approx(best.score)
    trained = listener.joined("trained")
    assert np.array_equal(trained, ~np.isnan(alone.history["loss"]))
    if kind in ("halving", "folds"):
        assert not trained.all()
    run = listener.run
    assert (run.first, run.rounds, run.metric_name, run.mode, run.seed) == (
        (0, 9, "loss", alone.mode, 3)
    )
    assert [h["lr"] for h in run.hparams] == pytest.approx(alone.settings["lr"][0], rel=1e-6)
    assert run.changing == (("lr",) if kind == "pbt" else ())
    assert "8 members" in run.plan
    assert all(report.seconds > 0 and report.rounds == 9 for report in listener.reports)


def test_stop_ends_the_sweep_which_can_go_on():
    """All callbacks hear of the last rounds; an extended sweep tells of the new ones, and begins
    with the settings that its members have by then."""
    after, second, third = [], Listener(), Listener()
    stop = lambda report: after.append(report.stop) or (vt.STOP if report.stop == 4 else None)
    sweep = tune(callbacks=[stop, second], refiner=vt.PBT(2))
    assert second.told == ["begin", (0, 1), (1, 4), "end"]
    assert after == [1, 4]
    assert sweep.trained.rounds == 4
    assert {member.status for member in sweep} == {"stopped after round 3"}
    whole = tune(refiner=vt.PBT(2), callbacks=[lambda r: vt.STOP if r.stop == 9 else None])
    longer = vt.extend(sweep, steps=5, rounds=5, callbacks=[third])
    assert equal(longer.history, whole.history)
    assert {member.status for member in (*longer, *whole)} == {"completed"}
    assert third.told == ["begin", (4, 5), (5, 8), (8, 9), "end"]
    assert third.run.first == 4
    assert third.run.hparams == tuple(member.hparams for member in sweep)
    new = lambda tree: jax.tree.map(lambda values: values[4:], tree)
    assert equal(third.joined("history"), new(longer.history))
    assert equal(third.joined("parents"), new(longer.parents))
    assert third.reports[-1].best.index == longer.best.index


@pytest.mark.parametrize("answer", ["STOP", True])
def test_only_stop_ends_a_sweep(answer):
    said = rf"callback .*<lambda> returned {answer!r}; return vt.STOP"
    with pytest.warns(UserWarning, match=said):
        sweep = tune(callbacks=[lambda report: answer])
    assert sweep.trained.rounds == 9


class Failing:
    """Fails in one of its methods."""

    def __init__(self, at, strict=False):
        self.at, self.strict, self.calls = at, strict, 0

    def _fail(self, at):
        self.calls += 1
        if at == self.at:
            raise OSError("no space left on device")

    def begin(self, run):
        self._fail("begin")

    def rounds(self, report):
        self._fail("rounds")

    def end(self, sweep):
        self._fail("end")


@pytest.mark.parametrize(
    ("at", "strict", "calls", "says"),
    [
        (
            "rounds",
            False,
            2,
            r"Failing failed after round 0; it is called no more \(OSError: no space",
        ),
        ("rounds", True, 2, "Failing failed after round 0; it is strict, so the sweep ends"),
        ("end", False, 6, r"Failing failed at the end \(OSError: no space"),
    ],
)
def test_one_that_fails_is_named_and_costs_no_sweep(at, strict, calls, says):
    failing, listener = Failing(at, strict), Listener()
    with pytest.warns(UserWarning, match=says) as seen:
        sweep = tune(callbacks=[failing, listener])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert failing.calls == calls
    assert listener.told[-1] == "end"
    assert sweep.trained.rounds == (1 if strict else 9)
    assert sweep.best.status == ("stopped after round 0" if strict else "completed")


def test_one_that_fails_is_logged_where_warnings_are_errors(caplog):
    with caplog.at_level(logging.WARNING, "vtune"):
        tune(callbacks=[lambda report: 1 / 0])
    assert "failed after round 0" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_one_that_cannot_begin_is_an_error(refused):
    """There is nothing to lose yet."""
    with refused(OSError, "no space left"):
        tune(callbacks=[Failing("begin")], steps=7, rounds=7)


def test_ctrl_c_is_answered_first(monkeypatch):
    """Its status says so, whatever callbacks want."""
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0.0)
    pressing = lambda report: os.kill(os.getpid(), signal.SIGINT) or vt.STOP
    with pytest.warns(UserWarning, match="interrupted: 1 of 9"):
        sweep = tune(callbacks=[pressing])
    assert sweep.best.status == "interrupted after round 0"


class WithoutMethods:
    def on_epoch_end(self, epoch, logs=None):
        """What another library calls."""


class NoFunction:
    rounds = 3


class TakesNothing:
    def end(self):
        """Lacks the sweep."""


async def later(report):
    """Would have to be awaited."""


def generator(report):
    yield report


def marked(**attributes):
    function = lambda report: None
    vars(function).update(attributes)
    return function


twice = lambda report: None
BAD = {
    "a function": (twice, TypeError, r"must be a list; write callbacks=\["),
    "a string": ("csv", TypeError, "must be a list"),
    "a dict": ({"csv": twice}, TypeError, "must be a list"),
    "a generator": ((c for c in [twice]), TypeError, "must be a list"),
    "none in it": ([None], TypeError, r"callbacks\[0\]=None is no callback"),
    "a string in it": ([twice, "csv"], TypeError, r"callbacks\[1\]='csv' is no callback"),
    "a list in it": ([[twice]], TypeError, r"callbacks\[0\]=.* is no callback"),
    "a class": ([Listener], TypeError, r"is the class Listener; .* Listener\(\.\.\.\)"),
    "stop": ([vt.STOP], TypeError, r"callbacks\[0\]=vt.STOP is no callback"),
    "another library's": ([WithoutMethods()], TypeError, r"any of the methods begin\(run\)"),
    "no function": ([NoFunction()], TypeError, r"callbacks\[0\].rounds=3 must be a function"),
    "takes nothing": ([lambda: 1], TypeError, r"must take the arguments \(report\)"),
    "takes two": ([lambda run, report: 1], TypeError, r"must take the arguments \(report\)"),
    "method": ([TakesNothing()], TypeError, r"callbacks\[0\].end must take .* \(sweep\)"),
    "async": ([later], TypeError, "is async, and would never run"),
    "yields": ([generator], TypeError, "is a generator, and would never run"),
    "twice": ([twice, twice], ValueError, r"callbacks\[1\] is .* once more"),
    "strict": ([marked(strict="yes")], TypeError, r"strict='yes' must be True or False"),
    "most rounds": ([marked(most_rounds=0)], ValueError, r"most_rounds=0 must be a whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_callback_is_named_before_anything_is_compiled(case, refused):
    given, error, says = BAD[case]
    with refused(error, says):
        tune(callbacks=given, steps=7, rounds=7)


def test_functions_of_any_kind_are_callbacks():
    class Called:
        def __call__(self, report):
            told.append("object")

        def method(self, report):
            told.append("method")

    told: list = []
    note = functools.partial(lambda name, report: told.append(name), "partial")
    sweep = tune(callbacks=(Called(), Called().method, note, told.append))
    assert told[:3] == ["object", "method", "partial"]
    assert told[3].round == 0
    assert sweep.trained.rounds == 9
    assert tune(callbacks=[]).trained.rounds == 9
