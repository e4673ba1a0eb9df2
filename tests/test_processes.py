"""Several processes under `jax.distributed` on CPU devices: one sweep, the bits of one process."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vtune as vt

SCRIPT = Path(__file__).with_name("process_sweeps.py")
LIMIT = 240  # seconds; what hangs fails
PATIENCE = 60  # seconds that a process waits for another one


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
        self.said = [line for line in said.splitlines() if not line.startswith("[Gloo]")]


def run(folder, part, processes, devices):
    """Runs a part of the script in so many processes, each with so many devices, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "VTUNE_PROCESS_TIMEOUT": str(PATIENCE), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = str(Path(vt.__file__).parents[1])
    started = []
    for index in range(processes):
        numbers = [str(number) for number in (index, processes, devices, port)]
        started.append(
            subprocess.Popen(
                [sys.executable, str(SCRIPT), part, *numbers, str(folder)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        )
    ended, deadline = [], time.monotonic() + LIMIT
    try:
        for process in started:
            said, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            ended.append(Ended(process.returncode, said))
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
    return ended


def found(folder, name):
    return pickle.loads((folder / name).read_bytes())


def bits(arrays):
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


@pytest.fixture(scope="module")
def one_process(folder):
    (ended,) = run(folder, "same", 1, 4)
    assert ended.code == 0, ended.said
    return found(folder, "same-1-0")


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_several_processes_give_the_bits_of_one(folder, one_process, processes, devices):
    """Searches, refiners, folds, and what is asked of a finished sweep."""
    ended = run(folder, "same", processes, devices)
    assert [process.code for process in ended] == [0] * processes, [p.said for p in ended]
    assert [process.said for process in ended[1:]] == [[]] * (processes - 1)
    for index in range(processes):
        mine = found(folder, f"same-{processes}-{index}")
        assert mine.keys() == one_process.keys()
        for name, arrays in one_process.items():
            assert bits(mine[name]) == bits(arrays), (index, name)


@pytest.mark.slow
def test_what_cannot_work_is_an_error_in_every_process(folder):
    ended = run(folder, "wrong", 2, 1)
    assert [process.code for process in ended] == [0, 0], [process.said for process in ended]
    first, second = found(folder, "wrong-0"), found(folder, "wrong-1")
    for said in (first, second):
        assert "process 1: seed: true on it, 0 on process 0" in said["calls that differ"]
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
    assert (
        "vt.tune: process 1 failed, so all end here. ValueError: Halton" in first["an error on one"]
    )
    assert second["an error on one"].startswith("ValueError: Halton")
    assert first["a callback"] == "LookupError: no such log"
    assert "process 0 failed, so all end here. LookupError: no such log" in second["a callback"]
    assert (first["who was told"], second["who was told"]) == ([0], [])
    assert "process 1 did not come here within 1 s" in first["alone"]


@pytest.mark.slow
def test_processes_end_together_and_go_on_with_those_that_are_left(folder):
    """SIGTERM to one; kill -9 of one, whose partner ends by itself; then one process alone."""
    ended = run(folder, "terminated", 2, 2)
    assert [process.code for process in ended] == [-signal.SIGTERM] * 2, [p.said for p in ended]
    before = vt.read(folder / "run").trained.rounds
    assert 3 <= before < 60
    assert ended[1].said == []

    began = time.monotonic()
    ended = run(folder, "killed", 2, 2)
    assert ended[1].code == -signal.SIGKILL
    assert ended[0].code not in (0, -signal.SIGKILL)
    assert any("another process has died" in line for line in ended[0].said) or any(
        "another task died" in line for line in ended[0].said
    )
    assert f"goes on from {folder / 'run'}, after {before} of 60 rounds" in "\n".join(ended[0].said)
    assert time.monotonic() - began < LIMIT
    assert before < vt.read(folder / "run").trained.rounds < 60

    (ended,) = run(folder, "finished", 1, 4)
    assert ended.code == 0, ended.said
    on, undisturbed, again = found(folder, "finished-0")
    assert bits(on) == bits(undisturbed) == bits(again)
