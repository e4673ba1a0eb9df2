"""Several processes under `jax.distributed` on CPU devices: one sweep, the bits of one process."""

import itertools
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from problems import quadratic

import vtune as vt
from vtune.runtime.compile import build

SCRIPT = Path(__file__).with_name("process_sweeps.py")
LIMIT = 600  # seconds; what hangs fails
PATIENCE = 120  # seconds that a process waits for another one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


class Ended:
    """A process that has ended.

    Attributes:
      code: as Popen says it. said: its standard streams, without the lines of JAX's own libraries.
    """

    def __init__(self, code, said):
        self.code = code
        lines = filter(str.strip, said.splitlines())
        self.said = [line for line in lines if "Gloo" not in line and "peer ranks" not in line]


def start(folder, parts, processes, devices):
    """Starts parts of the script in so many processes, each with so many devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "VTUNE_PROCESS_TIMEOUT": str(PATIENCE), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = str(Path(vt.__file__).parents[1])
    if cache := jax.config.jax_compilation_cache_dir:  # the tests' own
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    started = []
    for index in range(processes):
        numbers = [str(number) for number in (index, processes, devices, port)]
        # To a file: a full pipe would make it wait.
        with (folder / f"said-{parts}-{processes}-{index}").open("w") as said:
            command = [sys.executable, str(SCRIPT), parts, *numbers, str(folder)]
            streams = {"stdout": said, "stderr": subprocess.STDOUT, "env": environment}
            started.append((subprocess.Popen(command, **streams), Path(said.name)))
    return started


def ends(started):
    """Waits for processes; one that hangs fails."""
    deadline = time.monotonic() + LIMIT
    for process, _ in started:
        process.wait(max(1.0, deadline - time.monotonic()))
    return [Ended(process.returncode, said.read_text()) for process, said in started]


class Runs(NamedTuple):
    """How all processes ended, and how many rounds the first pair had kept."""

    alone: list[Ended]
    pair: list[Ended]
    four: list[Ended]
    again: list[Ended]
    before: int


@pytest.fixture(scope="module")
def runs(folder):
    """One process, a pair that a SIGTERM ends, four, and a pair of which one is killed; the first
    one then goes on from what that pair left."""
    started = [start(folder, "same,finished", 1, 4), start(folder, "same,wrong,terminated", 2, 2)]
    try:
        pair = ends(started[1])
        assert [process.code for process in pair] == [-signal.SIGTERM] * 2, [p.said for p in pair]
        before = vt.read(folder / "run").trained.rounds
        started += [start(folder, "killed", 2, 2), start(folder, "same", 4, 1)]
        again = ends(started[2])
        (folder / "left").touch()
        return Runs(ends(started[0]), pair, ends(started[3]), again, before)
    finally:
        for process, _ in itertools.chain(*started):
            if process.poll() is None:
                process.kill()
                process.wait()


def found(folder, name):
    return pickle.loads((folder / name).read_bytes())


def bits(arrays):
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


@pytest.mark.slow
def test_several_processes_give_the_bits_of_one(folder, runs):
    """Searches, refiners, folds, data on the host, and what is asked of a finished sweep."""
    expected, _ = found(folder, "same-1-0")
    assert [process.code for process in runs.four] == [0] * 4, [p.said for p in runs.four]
    for count, ended in ((2, runs.pair), (4, runs.four)):
        assert [process.said for process in ended[1:]] == [[]] * (count - 1)
        for index in range(count):
            mine, _ = found(folder, f"same-{count}-{index}")
            assert len(mine) == len(expected) if count == 2 else len(mine) >= 6
            for name, arrays in mine.items():
                assert bits(arrays) == bits(expected[name]), (count, index, name)


@pytest.mark.slow
def test_what_several_processes_compile(folder, runs):
    """A plan's program, and the order of rows on the host; once for all, what goes to the hosts."""
    for count, index in itertools.product((2, 4), range(2)):
        _, compiled = found(folder, f"same-{count}-{index}")
        to_hosts = sum(programs.count("jit(_identity_fn)") for programs in compiled.values())
        assert 1 <= to_hosts <= 2
        for name, programs in compiled.items():
            own = [program for program in programs if program != "jit(_identity_fn)"]
            assert len(own) == 1 + (name == "data on the host"), compiled


@pytest.mark.slow
def test_nothing_moves_while_members_are_trained():
    """Five members on two devices move between rounds, not between chunks of steps."""
    data = vt.holdout({"x": np.ones((64, 3), np.float32)})
    given = quadratic(), {"lr": vt.Float(0.1, 0.5)}, data
    options = {"search": vt.Halton(5), "epochs": 2, "batch_size": 4}
    sweep = vt.tune(*given, **options)
    text = build(sweep.trained.plan).call.as_text()
    moves = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(")
    lines = [line for line in text.splitlines() if moves.search(line)]
    assert lines
    assert "train_group_0" in text
    assert not [line for line in lines if "train_group" in line]
    assert vt.cost(*given, **options).floor_bytes_per_member == 8


@pytest.mark.slow
def test_what_cannot_work_is_an_error_in_every_process(folder, runs):
    first, second = found(folder, "wrong-0"), found(folder, "wrong-1")
    for said in (first, second):
        assert "process 1: seed: 1 on it, 0 on process 0" in said["calls that differ"]
        assert "process 1: data['x']: something else" in said["calls that differ"]
        assert "load the same files in the same order" in said["calls that differ"]
        assert "process 1: space['lr']" in said["spaces that differ"]
        assert "write devices=2 or more" in said["too few devices"]
        assert "cache_features=True: 2 processes" in said["features"]
        assert "search=vt.Generations: 2 processes" in said["generations"]
        assert "sweep.save(folder) in all of them" in said["pickled"]
        assert "the numbers differ" in said["other reruns"]
        assert "no such" in said["an error on all"]
        assert (said["rounds"], said["status"]) == (2, "stopped after round 1")
    elsewhere = "vt.tune: process 1 failed, so all end here. ValueError: seed=-1"
    assert elsewhere in first["an error on one"]
    assert second["an error on one"].startswith("ValueError: seed=-1")
    assert first["a callback"] == "LookupError: no such log"
    assert "process 0 failed, so all end here. LookupError: no such log" in second["a callback"]
    unread = second["a source"]
    assert re.fullmatch(
        "SourceError: the rows of steps 12 to 15 .* OSError: the disk is gone", unread
    )
    assert first["a source"].endswith(f"a round: process 1 failed, so all end here. {unread}")
    assert (first["who was told"], second["who was told"]) == ([0], [])
    assert "process 1 did not come here within 1 s" in first["alone"]
    assert first["afterwards"] == second["afterwards"]


@pytest.mark.slow
def test_processes_end_together_and_go_on_with_those_that_are_left(folder, runs):
    """SIGTERM to one; kill -9 of one, whose partner ends by itself; then one process alone."""
    assert 3 <= runs.before < 60
    assert runs.again[1].code == -signal.SIGKILL
    assert runs.again[0].code not in (0, -signal.SIGKILL)
    said = "\n".join(runs.again[0].said)
    assert "another task died" in said  # JAX ends what is left, wherever it waits
    assert f"goes on from {folder / 'run'}, after {runs.before} of 60 rounds" in said
    assert runs.alone[0].code == 0, runs.alone[0].said
    assert f"goes on from {folder / 'run'}" in "\n".join(runs.alone[0].said)
    undisturbed = found(folder, "same-1-0")[0]["pbt"]
    for arrays in found(folder, "finished-0"):
        assert bits(arrays) == bits(undisturbed)
