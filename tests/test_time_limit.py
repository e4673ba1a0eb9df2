"""`timeout=` ends a sweep in time, between two rounds, and says so."""

import math
import time

import numpy as np
import pytest
from problems import quadratic

import vtune as vt
from vtune.runtime import execute, segments, time_limit

LEARNER = quadratic()
SPACE = {"lr": vt.Float(0.1, 0.5)}
PLAIN = {"search": vt.Halton(4), "steps": 9, "rounds": 9}


def tune(**options):
    return vt.tune(LEARNER, SPACE, **{**PLAIN, **options})


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by one second a member and round; `clock(seconds)` turns it."""
    seconds, call = [100.0], segments.call_checked

    class Clock:
        monotonic = staticmethod(lambda: seconds[0])

    def called(function, carry, first, stop, arguments):
        after = call(function, carry, first, stop, arguments)
        halving = [9, 3, 3, 1, 1, 1, 1, 1, 1]  # the members that are left, round by round
        sizes = halving if len(after[0].population.id) == 9 else [4] * 9
        seconds[0] += sum(sizes[int(first) : int(stop)])
        return after

    monkeypatch.setattr(time_limit, "time", Clock)
    monkeypatch.setattr(segments, "call_checked", called)
    return lambda more: seconds.__setitem__(0, seconds[0] + more)


@pytest.mark.parametrize(
    ("timeout", "rounds"), [(0.01, 1), (4, 1), (7.9, 1), (8, 2), (15, 3), (35.9, 8)]
)
@pytest.mark.usefixtures("clock")
def test_a_round_that_would_end_too_late_is_not_begun(timeout, rounds):
    with pytest.warns(UserWarning, match=rf"timeout={timeout:g}: {rounds} of 9 rounds were run; "):
        sweep = tune(timeout=timeout)
    assert sweep.trained.rounds == rounds
    assert {member.status for member in sweep} == {f"timeout after round {rounds - 1}"}
    whole = tune()
    np.testing.assert_array_equal(sweep.history["loss"], whole.history["loss"][:rounds])


@pytest.mark.usefixtures("clock")
def test_one_that_is_long_enough_is_not_noticed(compilations, recwarn):
    tune(timeout=1e9)
    with compilations() as seen:
        sweeps = [tune(), tune(timeout=36), tune(timeout=math.inf), tune(timeout=np.float32(99))]
    assert seen.count == 0
    assert {sweep[0].status for sweep in sweeps} == {"completed"}
    for sweep in sweeps:
        np.testing.assert_array_equal(sweep.history["loss"], sweeps[0].history["loss"])
    assert not recwarn.list


@pytest.mark.usefixtures("clock")
def test_it_goes_on_from_there_and_from_a_file(tmp_path):
    with pytest.warns(UserWarning, match=r"vt.extend\(sweep, ...\) trains on from there"):
        sweep = tune(timeout=12)
    sweep.save(tmp_path / "run")
    loaded = vt.load(tmp_path / "run", LEARNER)
    assert loaded[1].status == sweep[1].status == "timeout after round 2"
    assert vt.read(tmp_path / "run").table()["status"][0] == "timeout after round 2"
    with pytest.warns(UserWarning, match="5 of 9 rounds were run"):
        longer = vt.extend(sweep, steps=6, rounds=6, timeout=8)
    np.testing.assert_array_equal(longer.history["loss"], tune().history["loss"][:5])
    with pytest.warns(UserWarning, match="4 of 9 rounds were run"):
        stopping = tune(timeout=16, patience=3)
    assert {member.status for member in stopping} == {"timeout after round 3"}


@pytest.mark.usefixtures("clock")
def test_halving_says_at_once_what_does_not_fit():
    """21 member-rounds of a second each: 9, 6 and 6 in the three rungs."""
    options = {"search": vt.Halton(9), "refiner": vt.Halving(reduction_factor=3)}
    tune(**options)
    with pytest.warns(UserWarning, match="timeout=14") as seen:
        sweep = tune(**options, timeout=14)
    said = [str(warning.message) for warning in seen]
    assert "the 8 rounds that are left need about 12 s, and 5 s are left" in said[0]
    assert "About 6 of the 9 members would fit" in said[0]
    assert "2 of 9 rounds were run, with 3 of 9 members left in the last one" in said[1]
    assert sweep.best.status == "timeout after round 1"
    assert sweep.n_candidates_ == [9, 3]
    with pytest.warns(UserWarning, match="timeout=17"):
        assert tune(**options, timeout=17).trained.rounds == 5


def test_compiling_counts(clock, monkeypatch):
    built = execute._built

    def compiled(*given):
        clock(20)
        return built(*given)[0], 20.0

    monkeypatch.setattr(execute, "_built", compiled)
    says = "1 of 9 rounds were run; compiling took 20 s of the time, which the same call does not"
    with pytest.warns(UserWarning, match=says):
        tune(timeout=16)


def test_in_real_seconds():
    began = time.monotonic()
    with pytest.warns(UserWarning, match="timeout=0.5: "):
        sweep = tune(steps=10**6, rounds=10**6, timeout=0.5)
    spent = time.monotonic() - began
    assert sweep.trained.rounds < 10**6
    assert spent < 30  # most of it compiling


@pytest.mark.parametrize("call", [tune, lambda **given: vt.extend(None, steps=1, **given)])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        *((value, ValueError) for value in (-1, 0, math.nan, -math.inf)),
        *((value, TypeError) for value in (True, "60", [60], 1j, np.array([1.0]))),
    ],
    ids=str,
)
def test_bad_limits_are_named_at_once(call, timeout, error, refused):
    with refused(error, r"(tune|extend): timeout=.*above 0"):
        call(timeout=timeout)
