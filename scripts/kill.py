"""Kills a running sweep at random moments, again and again, and compares what it becomes with a run
that was left alone, bit by bit.

    python scripts/kill.py                      once through all kinds of sweeps
    python scripts/kill.py --times 100          so many kills, spread over them
    python scripts/kill.py --cases PBT --devices 2 --seed 3

A child trains, and goes on where the one before it was killed. Some rounds after it has kept a
checkpoint it starts a timer of the kernel, which ends the process as SIGKILL does, wherever it is:
training or writing. The rounds and the timer's length are random.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

import vtune as vt
from vtune.runtime import segments

BY_GENERATIONS = "generations"
STREAM = "stream"  # of a loader of grain's with two workers, killed within epochs
CASES = ("plain", "PBT", "PB2", "Halving", "folds", BY_GENERATIONS, STREAM)
QUICK = "small"  # a quadratic, which takes little to import and compile: for the tests
ROUNDS = 200
GENERATIONS = 5  # of rounds that are fewer by so much


def sweep(case: str, folder: str | None, callbacks: Sequence[Any] = ()) -> str:
    """Trains a sweep of a kind and returns a checksum of all that it holds."""
    learner, data, options = quadratic() if case == QUICK else network(case)
    search = generations() if case == BY_GENERATIONS else vt.Halton(8)
    trained = vt.tune(
        learner,
        {"lr": vt.Float(1e-3, 1e-1, log=True)},
        data,
        search=search,
        checkpoint=None if folder is None else vt.Checkpoint(folder, every=1e-9),
        callbacks=callbacks,
        progress=False,
        **options,
    ).trained
    if case == BY_GENERATIONS and folder is not None:
        check_trials(Path(folder), len(trained.places))
    digest = hashlib.sha256()
    left = np.asarray(trained.records.parents)[-1] >= 0  # states of dropped members are not kept
    states = [
        np.asarray(leaf)[: left[population.id].sum()]
        for population in trained.populations
        for leaf in jax.tree.leaves(population.state)
    ]
    for leaf in [*jax.tree.leaves((trained.records, trained.memories)), trained.scores, *states]:
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def generations() -> vt.Generations:
    """A search whose trials are in the run's folder."""
    import optuna

    return vt.Generations(optuna.samplers.TPESampler(), size=8, generations=GENERATIONS)


def check_trials(folder: Path, members: int) -> None:
    """Raises SystemExit where a trial was lost or asked for twice."""
    import optuna

    journal = optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
    study = optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(journal))
    found = [trial.user_attrs["vtune/member"] for trial in study.trials if trial.value is not None]
    if found != list(range(members)) or len(study.trials) != members:
        raise SystemExit(f"the study has trials of the members {found}")


def quadratic() -> tuple[vt.Learner, None, dict[str, Any]]:
    """A learner without data, and how it is trained."""
    learner = vt.Learner(
        init=lambda key, h, batch: jax.random.normal(key, (5000,)),
        step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: (x**2).sum(),
        score=lambda total: {"loss": total},
    )
    return learner, None, {"steps": ROUNDS, "rounds": ROUNDS}


def network(case: str) -> tuple[vt.Learner, vt.Data, dict[str, Any]]:
    """A small network with dropout and BatchNorm, and how it is trained."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(not train)(nn.Dense(16)(x))
            return nn.Dense(3)(nn.Dropout(0.1, deterministic=not train)(nn.relu(x)))

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    arrays = {"x": rng.normal(size=(240, 8)) + y[:, None], "y": y}
    learner = vt.flax_learner(
        Model(),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda out, b, h: optax.softmax_cross_entropy_with_integer_labels(out, b["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )
    if case == STREAM:
        steps = {"steps": 3 * ROUNDS, "rounds": ROUNDS, "metric": "accuracy"}  # 11 make an epoch
        return learner, streamed(arrays), {**steps, "refiner": vt.PBT(), "keep": "best"}
    folds = case == "folds"
    data = vt.kfold(arrays, k=2) if folds else vt.holdout(arrays, fraction=0.25)
    refiner = {
        "PBT": vt.PBT(),
        "PB2": vt.PB2(candidates=32, observations=16),
        "Halving": vt.Halving(reduction_factor=2),
    }.get(case)
    epochs = ROUNDS // GENERATIONS if case == BY_GENERATIONS else ROUNDS
    options: dict[str, Any] = {"epochs": epochs, "batch_size": 16, "metric": "accuracy"}
    more = {"seeds": 2, "patience": 6} if folds else {"refiner": refiner}
    return learner, data, {**options, **more, "keep": "last" if case == "plain" else "best"}


class Records:
    """Rows of arrays, for the workers of a loader."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays["y"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: array[row] for name, array in self._arrays.items()}

    def __repr__(self) -> str:
        return f"Records({len(self)})"


def streamed(arrays: dict[str, np.ndarray]) -> vt.Data:
    """The batches of a loader with two processes, in a new order in every epoch."""
    from absl import flags
    from grain import python as grain

    flags.FLAGS.mark_as_parsed()  # grain asks for them where it starts processes
    parts = np.split(np.arange(240), [180])
    train, valid = ({k: a[rows] for k, a in arrays.items()} for rows in parts)
    loader = grain.DataLoader(
        data_source=Records(train),
        sampler=grain.IndexSampler(180, grain.NoSharding(), shuffle=True, seed=1),
        operations=[grain.Batch(16, drop_remainder=True)],
        worker_count=2,
    )
    return vt.stream(loader, 11, valid=valid)


class Death:
    """A callback: so many rounds after a checkpoint was kept, the process has `seconds` to live.

    It waits for this checkpoint, so that each life gets further than the one before it.
    """

    def __init__(self, folder: str, rounds: int, seconds: float):
        self._folder, self._rounds, self._seconds = Path(folder), rounds, seconds
        self._before = rounds_kept(self._folder)

    def rounds(self, report: Any) -> None:
        while rounds_kept(self._folder) == self._before and report.round > self._before + 1:
            time.sleep(0.001)
        if rounds_kept(self._folder) > self._before:
            self._rounds -= 1
        if self._rounds == 0:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)


def start(case: str, devices: int, folder: Path | None, cache: str, *death: float) -> Popen:
    """Starts a child that trains a sweep and prints its checksum, or dies: see `Death`."""
    given = [case, devices, folder or "", *death]
    command = [sys.executable, __file__, "--child", *map(str, given)]
    root = str(Path(__file__).resolve().parents[1])
    env = {**os.environ, "VTUNE_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
    out = subprocess.PIPE
    return Popen(command, env=env, start_new_session=True, stdout=out, stderr=out, text=True)


def checksum(child: Popen) -> str:
    """Waits for a child and returns what it printed."""
    out, said = child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"a child failed with {child.returncode}:\n{said}")
    return out.split()[-1]


def rounds_kept(folder: Path) -> int:
    """Returns the rounds of the newest checkpoint, by its name; of all generations together."""
    finished = 0
    for part in folder.glob("generation-*"):
        finished = int(part.name.rpartition("-")[2])
        folder = part
    return finished * (ROUNDS // GENERATIONS) + rounds_of(folder)


def rounds_of(folder: Path) -> int:
    """Returns the rounds of the newest checkpoint in a folder."""
    kept = folder / "vtune-checkpoints"
    names = [path.name for path in kept.iterdir()] if kept.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def killed(case: str, devices: int, kills: int, rng: random.Random, work: Path) -> list[int]:
    """Begins a run in work/run and kills it so often; returns the rounds that were kept then."""
    cache, folder = str(work / f"cache-{devices}"), work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    seen: list[int] = []
    for _ in range(kills):
        most = 1.0 if case == BY_GENERATIONS else 0.1  # asking and telling take longer
        child = start(case, devices, folder, cache, rng.randint(1, 20), rng.uniform(1e-6, most))
        child.wait()
        with contextlib.suppress(ProcessLookupError):  # workers of a loader outlive it
            os.killpg(child.pid, signal.SIGKILL)
        _, said = child.communicate()
        if child.returncode == 0:
            break  # it was done
        if child.returncode != -signal.SIGALRM:
            raise SystemExit(f"a child failed with {child.returncode}:\n{said}")
        seen.append(rounds_kept(folder))
    return seen


def main() -> None:
    """Reads the command line, kills, and prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--times", type=int, default=20, help="kills in all")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=[*CASES, QUICK])
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        case, devices, folder, *death = given.child
        jax.config.update("jax_num_cpu_devices", int(devices))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        segments.SEGMENT_SECONDS = 0.0  # a round each, so that there is something to write
        deaths = [Death(folder, int(death[0]), float(death[1]))] if death else []
        print(sweep(case, folder or None, deaths))
        return
    rng, done, differ = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        whole: dict[tuple[str, int], str] = {}
        pairs = [(case, devices) for case in given.cases for devices in given.devices]
        while done < given.times:
            for case, devices in pairs:
                if done >= given.times:
                    break
                if (case, devices) not in whole:
                    alone = start(case, devices, None, str(work / f"cache-{devices}"))
                    whole[case, devices] = checksum(alone)
                wanted = min(rng.randint(2, 4), given.times - done)
                seen = killed(case, devices, wanted, rng, work)
                end = start(case, devices, work / "run", str(work / f"cache-{devices}"))
                same = checksum(end) == whole[case, devices]
                done, differ = done + len(seen), differ + (not same)
                word = "equal" if same else "DIFFERENT"
                print(f"{case}, {devices} devices: killed at rounds {seen}: {word}", flush=True)
    print(f"{done} kills, {differ} runs that differ")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
