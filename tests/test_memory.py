"""Fit to memory: what is predicted, what is taken, how wide a population becomes."""

import json
import logging
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import vtune as vt
from vtune import host_memory
from vtune.engine.carry import Arguments
from vtune.runtime.compile import build
from vtune.runtime.memory import Need, fit, format_bytes, predicted_need, tree_bytes
from vtune.runtime.placement import placed_arguments

# Eight layers of 4,096 rows: activations are nearly all that a member takes.
SCRIPT = """
import json, sys
import jax, flax.linen as nn, numpy as np, optax
import vtune as vt, vtune.runtime.execute

devices, limit = int(sys.argv[1]), int(sys.argv[2]) or None
if devices > 1:
    vt.use_all_cores()
    jax.config.update("jax_num_cpu_devices", devices)


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(8):
            x = nn.tanh(nn.Dense(64)(x))
        return nn.Dense(10)(x)


rng = np.random.default_rng(0)
x, y = rng.random((4608, 16), np.float32), rng.integers(0, 10, 4608).astype(np.int32)
data = vt.from_splits({"x": x[512:], "y": y[512:]}, {"x": x[:512], "y": y[:512]})
learner = vt.flax_learner(
    Deep(),
    optimizer=lambda h: optax.sgd(h["lr"]),
    loss=lambda o, b, h: optax.softmax_cross_entropy_with_integer_labels(o, b["y"]),
)
compiled, began = [], []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
)
lines = lambda: dict(line.split(":") for line in open("/proc/self/status"))
status = lambda name: 1024 * int(lines()[name].split()[0])
first_carry = vtune.runtime.execute.first_carry


def begin(*arguments):  # from here on memory is the program's
    open("/proc/self/clear_refs", "w").write("5")
    began.append(status("VmRSS"))
    return first_carry(*arguments)


vtune.runtime.execute.first_carry = begin
sweep = vt.tune(
    learner, {"lr": vt.Float(1e-3, 1e-1, log=True)}, data, search=vt.Halton(32), epochs=2,
    batch_size=4096, layout=vt.Layout("fit", memory=limit),
)
peak = status("VmHWM") - began[0]
program = vtune.runtime.execute.build(sweep.trained.plan)
print(json.dumps({
    "compiled": len(compiled), "peak": peak, "predicted": program.bytes, "width": program.width,
    "loss": sweep.history["loss"].tolist(), "lr": sweep.settings["lr"].tolist(),
}))
"""


def measured(devices, limit=0):
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    if cache := jax.config.jax_compilation_cache_dir:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(devices), str(limit)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("devices", [1, 2])
def test_a_sweep_of_four_times_the_limit_runs_in_chunks_and_gives_the_same_table(devices):
    whole = measured(devices)
    limit = whole["predicted"] // 4
    parts = measured(devices, limit)
    assert (whole["width"], whole["compiled"]) == (32 // devices, 1)
    assert parts["width"] <= 32 // devices // 4
    assert parts["compiled"] <= 3  # two probes, and the one that runs
    assert parts["predicted"] <= limit
    assert parts["lr"] == whole["lr"]
    np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-5)
    for run in (whole, parts):
        assert 0.7 * run["predicted"] < run["peak"] <= 1.3 * run["predicted"]


def heavy(refiner=None, chunk=1, memory=None, members=8):
    """Members of a million weights, and nothing else."""
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.ones(2**20) * 1.5,
        step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: jnp.mean(x**2),
        score=lambda total: {"loss": total},
    )
    return vt.tune(
        learner,
        {"lr": vt.Float(0.1, 0.5)},
        search=vt.Halton(members),
        refiner=refiner,
        steps=3,
        rounds=3,
        layout=vt.Layout(chunk, 1, memory),
    )


def test_what_a_refiner_moves_is_part_of_the_prediction():
    state = 8 * 2**22  # bytes
    moved = build(heavy(vt.PBT()).trained.plan).bytes
    assert moved >= 2 * state  # where it lies, and where it goes


def test_more_than_there_is_is_refused_before_anything_is_compiled(compilations):
    with (
        compilations() as compiled,
        pytest.raises(MemoryError, match=r"8 members take 32\.0 MiB; the limit is 20\.0 MiB"),
    ):
        heavy(memory=20 * 2**20)
    assert compiled.count == 0


def test_a_width_that_was_asked_for_is_kept_or_refused(compilations):
    with (
        compilations() as compiled,
        pytest.raises(MemoryError, match=r'a smaller chunk than 8, or vt.Layout\(chunk="fit"\)'),
    ):
        heavy(chunk=None, memory=33 * 2**20)
    assert compiled.count == 1


def test_where_none_fits_it_is_said_after_three_programs(compilations):
    with (
        compilations() as compiled,
        pytest.raises(MemoryError, match=r"with one member at a time on a device: 32\.0 MiB for"),
    ):
        heavy(chunk="fit", memory=33 * 2**20)
    assert compiled.count <= 3


def test_predicted_and_used_bytes_are_in_the_log(caplog):
    with caplog.at_level(logging.INFO, "vtune"):
        sweep = heavy(memory=2**30)
    said = [record.getMessage() for record in caplog.records]
    predicted = format_bytes(build(sweep.trained.plan).bytes)
    assert any(
        f"memory predicted: {predicted}, limit 1.0 GiB; 1 members side by side" in line
        for line in said
    )
    assert any("memory used: " in line and "by the whole process" in line for line in said)


@given(
    width=st.integers(1, 4096),
    resident=st.integers(0, 10**6),
    start=st.integers(0, 10**8),
    slope=st.integers(1, 10**6),
    limit=st.integers(1, 10**9),
)
def test_the_width_found_fits_and_is_not_needlessly_narrow(width, resident, start, slope, limit):
    need = lambda width: Need(resident, start + slope * width)
    tried = []
    compile = lambda width: tried.append(width) or width
    if need(1).total > limit:
        with pytest.raises(MemoryError):
            fit(compile, need, width, limit, fixed=False)
        return
    assume(need(1).total <= 0.97 * limit)
    fitted = fit(compile, need, width, limit, fixed=False)
    assert fitted.need.total <= limit
    assert len(tried) <= 3
    best = min(width, (limit - resident - start) // slope)
    room = 0.85 * limit - resident  # what the first guess leaves itself
    sure = math.floor(room / (need(width).scratch / width)) if room > 0 else 1
    assert fitted.width >= max(1, min(sure, best)) / 2


def test_bytes_are_shown_for_people():
    assert [format_bytes(n) for n in (0, 999, 2000, 150 * 2**20, 3 * 2**30)] == [
        "0 bytes",
        "999 bytes",
        "2.0 KiB",
        "150 MiB",
        "3.0 GiB",
    ]
    tree = {"a": jax.ShapeDtypeStruct((3, 2), np.float16), "b": np.zeros(5, np.int8)}
    assert tree_bytes(tree) == 17


def test_the_devices_of_a_cpu_share_one_copy_of_the_data():
    data = vt.holdout({"x": np.ones((100, 40), np.float32)})
    arguments = Arguments(np.uint32(0), (), None, data)
    placed = placed_arguments(arguments, vt.Layout(devices=2))
    shards = placed.data.arrays["x"].addressable_shards
    assert len({shard.device for shard in shards}) == 2
    assert len({shard.data.unsafe_buffer_pointer() for shard in shards}) == 1


class Compiled:
    """What the compiler says of a program: bytes on each device."""

    argument_size_in_bytes, output_size_in_bytes = 1000, 600
    alias_size_in_bytes, temp_size_in_bytes = 600, 10

    def memory_analysis(self):
        return self


def test_data_are_counted_once_for_all_devices_of_a_cpu():
    assert predicted_need(Compiled(), 4, shared=300, own=4 * 600) == (300 + 4 * 700, 40)
    assert predicted_need(Compiled(), 4, shared=900, own=4 * 600) == (900 + 4 * 600, 40)  # unread


GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/", {}, 9 * GIB),  # what is free on the machine
        ("0::/", {"memory.max": 4 * GIB, "memory.current": GIB}, 3 * GIB),
        ("0::/", {"memory.max": "max", "memory.current": GIB}, 9 * GIB),
        (  # nested: a job of SLURM or systemd; the one above is the narrower
            "0::/job/step",
            {
                "job/memory.max": 5 * GIB,
                "job/memory.current": 4 * GIB,
                "job/memory.stat": f"active_file 5\ninactive_file {GIB}",
                "job/step/memory.max": 8 * GIB,
                "job/step/memory.current": 3 * GIB,
            },
            2 * GIB,
        ),
        (  # version 1, whose path in a container is the host's
            "9:cpu:/x\n4:memory:/docker/abc\n0::/",
            {"memory/memory.limit_in_bytes": 6 * GIB, "memory/memory.usage_in_bytes": GIB},
            5 * GIB,
        ),
    ],
    ids=["none", "v2", "unlimited", "nested", "v1"],
)
def test_the_limit_is_what_is_free(groups, files, left, tmp_path, monkeypatch):
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {16 * 2**20} kB\nMemAvailable: {9 * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text(groups + "\n")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    monkeypatch.setattr(host_memory, "PROC", proc)
    monkeypatch.setattr(host_memory, "CGROUPS", root)
    assert host_memory.free_bytes() == left


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_of_address_space_counts(monkeypatch):
    import resource

    most = 2**45
    monkeypatch.setattr(resource, "getrlimit", lambda what: (most, most))
    (left,) = host_memory._address_space()
    assert most - 2**42 < left < most
    assert host_memory.free_bytes() <= left


def test_freed_memory_is_given_back_where_the_library_can(monkeypatch):
    host_memory.give_back()
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: object())  # as of musl
    host_memory.give_back()
