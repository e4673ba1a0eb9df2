"""Run by test_processes.py in each of several processes, and alone for what they must equal.

python process_sweeps.py PARTS INDEX COUNT DEVICES PORT FOLDER

PARTS are names of the functions below, with commas between them, done one after the other.
"""

import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import jax

PARTS, INDEX, COUNT, DEVICES, PORT, FOLDER = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
gc.set_threshold(100_000, 50, 100)  # as in conftest.py
jax.config.update("jax_traceback_in_locations_limit", 0)
jax.config.update("jax_num_cpu_devices", DEVICES)
if COUNT > 1:
    jax.distributed.initialize(
        f"127.0.0.1:{PORT}", COUNT, INDEX, heartbeat_timeout_seconds=15, shutdown_timeout_seconds=20
    )

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import vtune as vt  # noqa: E402

COMPILED = []  # the names of programs
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **about: (
        COMPILED.append(about.get("fun_name")) if "backend_compile" in event else None
    )
)

ALL = "VTUNE_TEST_ALL_PROCESSES"  # set, four processes run every sweep, too
ROUNDS = 60
ROWS = np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32)
ENTRIES = {"x": ROWS, "y": ROWS[:, 0] - ROWS[:, 1]}


def squares(params, x):
    return jnp.tanh(x @ params["w"]).mean(-1) + params["b"]


def init(key, h, batch):
    return {"w": jax.random.normal(key, (3, h["width"])), "b": jnp.zeros(()), "key": key}


def step(key, h, state, batch):
    def loss(params):
        noise = jax.random.normal(state["key"], batch["x"].shape)
        out = squares(params, batch["x"] + 0.01 * noise)
        return jnp.mean((out - batch["y"]) ** 2)

    params = {"w": state["w"], "b": state["b"]}
    value, gradient = jax.value_and_grad(loss)(params)
    moved = jax.tree.map(lambda p, g: p - h["lr"] * g, params, gradient)
    return {**moved, "key": jax.random.fold_in(state["key"], 1)}, {"loss": value}


def measure(key, h, state, batch, weight):
    return {
        "sum": jnp.sum(weight * (squares(state, batch["x"]) - batch["y"]) ** 2),
        "n": weight.sum(),
    }


LEARNER = vt.Learner(
    init=init,
    step=step,
    measure=measure,
    score=lambda total: {"loss": total["sum"] / total["n"]},
    predict=lambda h, state, batch: squares(state, batch["x"]),
    variables=lambda state: {"w": state["w"], "b": state["b"]},
)
SPACE = {"lr": vt.Float(1e-2, 1.0, log=True), "width": 4}


def tuned(members, refiner=None, data=None, space=SPACE, epochs=4, **keywords):
    data = vt.holdout(ENTRIES, test=0.2) if data is None else data
    return vt.tune(
        LEARNER,
        space,
        data,
        search=vt.Halton(members),
        refiner=refiner,
        epochs=epochs,
        batch_size=6,
        **keywords,
    )


SWEEPS = {
    "plain": lambda: tuned(8),
    "5 members on 4 devices": lambda: tuned(5, vt.PBT()),
    "pbt": lambda: tuned(8, vt.PBT(), epochs=ROUNDS),  # as `kept`, whose program it is then
    "pb2": lambda: tuned(8, vt.PB2()),
    "halving": lambda: tuned(6, vt.Halving(), epochs=3, keep="best"),
    "two cohorts": lambda: tuned(9, space={**SPACE, "width": vt.Categorical([2, 4])}),
    "data on the host": lambda: tuned(8, vt.PBT(), vt.holdout(ENTRIES, test=0.2, on="host")),
    "3 folds and 2 seeds": lambda: tuned(4, data=vt.kfold(ENTRIES, 3), epochs=2, seeds=2),
}


SLOW = "pb2", "data on the host"  # to compile, so one pair shows them
NAMES = [name for name in SWEEPS if COUNT < 4 or name not in SLOW or os.environ.get(ALL)]


def arrays_of(sweep):
    """All that every process must have of a sweep, the last member's weights among it."""
    held = [sweep.trained.has_state(column) for column in range(len(sweep))]
    last = sweep[int(np.flatnonzero(held)[-1])]
    table = sweep.table().select_dtypes("number")
    trees = sweep.history, sweep.settings, sweep.parents, sweep.scores, sweep.ranking
    leaves = jax.tree.leaves((trees, sweep.best.variables, last.variables, table.to_numpy()))
    return [np.asarray(leaf) for leaf in leaves]


def later(sweep, folder):
    """What is asked of a finished sweep."""
    x = ROWS[:5]
    yield [np.asarray(sweep.predict(x)), np.asarray(sweep.predict(x, member=1))]
    yield [np.asarray(values) for values in sweep.evaluate().values()]
    yield jax.tree.map(np.asarray, jax.tree.leaves(sweep.rerun(2).variables))
    sweep.save(folder)
    yield arrays_of(vt.extend(sweep, epochs=1, progress=False))
    loaded = vt.load(folder, LEARNER)
    yield jax.tree.map(
        np.asarray, jax.tree.leaves([loaded[i].variables for i in range(len(loaded))])
    )
    yield arrays_of(vt.extend(loaded, epochs=1, data=sweep.data, progress=False))


def same():
    """Every sweep, and what it compiled; but in four processes, what is asked of one later."""
    found, compiled = {}, {}
    for name in NAMES:
        before = len(COMPILED)
        sweep = SWEEPS[name]()
        compiled[name] = COMPILED[before:]
        found[name] = arrays_of(sweep)
        if name == "pbt" and COUNT < 4:
            for number, arrays in enumerate(later(sweep, Path(FOLDER) / f"saved-{COUNT}")):
                found[f"later {number}"] = arrays
    Path(FOLDER, f"same-{COUNT}-{INDEX}").write_bytes(pickle.dumps((found, compiled)))


def raised(call, *errors):
    """What a call says that must fail."""
    try:
        call()
    except errors as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("it did not fail")


class Failing:
    """Rows that process 1 can read so many times."""

    shape, dtype = ROWS.shape, ROWS.dtype

    def __init__(self, times):
        self._left = times if INDEX == 1 else 10**6

    def __getitem__(self, rows):
        self._left -= 1
        if self._left < 0:
            raise OSError("the disk is gone")
        return ROWS[rows]


def wrong():
    """Calls that differ, that fail on one process, that cannot be, that one process leaves out."""
    import optuna

    here = INDEX == 1
    data = vt.holdout({**ENTRIES, "x": ROWS + here}, test=0.2)
    space = {**SPACE, "lr": 0.1} if here else SPACE
    turns = vt.Generations(optuna.samplers.RandomSampler(seed=0), size=4, generations=1)
    said = {
        "calls that differ": raised(lambda: tuned(4, data=data, seed=INDEX), ValueError),
        "spaces that differ": raised(lambda: tuned(4, space=space), ValueError, RuntimeError),
        "an error on one": raised(lambda: tuned(4, seed=-INDEX), ValueError, RuntimeError),
        "an error on all": raised(lambda: tuned(4, metric="no such", mode="min"), ValueError),
        "too few devices": raised(lambda: tuned(4, layout=vt.Layout(devices=1)), ValueError),
        "features": raised(lambda: tuned(4, cache_features=True), RuntimeError),
        "generations": raised(lambda: vt.tune(LEARNER, SPACE, search=turns, steps=1), RuntimeError),
    }

    def begin(run):
        raise LookupError("no such log")

    told = type("Log", (), {"begin": staticmethod(begin)})()
    failing = lambda: tuned(8, callbacks=[told] if INDEX == 0 else None)
    said["a callback"] = raised(failing, LookupError, RuntimeError)
    seen, told = [], type("Stops", (), {"most_rounds": 1})()
    told.rounds = lambda report: stop(report, seen)
    trained = tuned(8, callbacks=[told])
    said["who was told"], said["rounds"] = sorted(set(seen)), trained.trained.rounds
    said["status"] = trained.best.status
    pickling = lambda: pickle.dumps(trained)
    said["pickled"] = raised(pickling, RuntimeError)
    said["other reruns"] = raised(lambda: trained.rerun(INDEX), RuntimeError)
    lost = vt.holdout({**ENTRIES, "x": Failing(8)}, test=0.2, on="host")
    said["a source"] = raised(lambda: tuned(8, vt.PBT(), lost), vt.SourceError, RuntimeError)
    patience = os.environ["VTUNE_PROCESS_TIMEOUT"]
    os.environ["VTUNE_PROCESS_TIMEOUT"] = "1"
    other, another = [i for i in range(8) if i != trained.best.index][:2]
    if INDEX == 0:  # the other one does not ask
        said["alone"] = raised(lambda: trained[other].variables, RuntimeError)
    os.environ["VTUNE_PROCESS_TIMEOUT"] = patience
    said["afterwards"] = [trained[i].variables["w"].tolist() for i in (another, other)]
    Path(FOLDER, f"wrong-{INDEX}").write_bytes(pickle.dumps(said))


def stop(report, seen):
    seen.append(INDEX)
    return vt.STOP if report.stop >= 2 else None


class Slowly:
    """Writes down each round, which takes a little while."""

    most_rounds = 1

    def rounds(self, report):
        time.sleep(0.03)
        Path(FOLDER, "round").write_text(str(report.stop))


def ended_by(number):
    """In process 1 a signal comes where the third round from here on is over."""
    begun = None
    while True:
        time.sleep(0.02)
        with contextlib.suppress(OSError, ValueError):
            done = int(Path(FOLDER, "round").read_text())
            begun = done if begun is None else begun
            if done >= begun + 3:
                return os.kill(os.getpid(), number)  # once: the second one ends it at once


def kept(number=None):
    """A run that keeps checkpoints, and goes on from there."""
    if number is not None and INDEX == 1:
        threading.Thread(target=ended_by, args=[number], daemon=True).start()
    keep = vt.Checkpoint(Path(FOLDER, "run"), rounds=1, keep=3)
    return tuned(8, vt.PBT(), epochs=ROUNDS, checkpoint=keep, callbacks=[Slowly()])


def terminated():
    kept(signal.SIGTERM)


def killed():
    kept(signal.SIGKILL)


def finished():
    """Goes on to the end with what is left, whose program "pbt" has; and once more."""
    while not Path(FOLDER, "left").exists():
        time.sleep(0.05)
    found = [arrays_of(kept()), arrays_of(kept())]  # the finished one is returned
    Path(FOLDER, f"finished-{INDEX}").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    for part in PARTS.split(","):
        {
            "same": same,
            "wrong": wrong,
            "terminated": terminated,
            "killed": killed,
            "finished": finished,
        }[part]()
