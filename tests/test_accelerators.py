"""Programs for a TPU v5e, where its compiler is: `bash scripts/test.sh --accelerators`."""

import importlib.util
import os

import flax.linen as nn
import numpy as np
import optax
import pytest
from solo import xent

import vtune as vt

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None or "TPU_SKIP_MDS_QUERY" not in os.environ,
        reason="the TPU's compiler is not set up; run `bash scripts/test.sh --accelerators`",
    ),
    pytest.mark.filterwarnings("ignore"),
]


class Net(nn.Module):
    """Widths that are no batch's and no population's, so that shapes tell what an array is."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(48)(x)))


def sweep(**options):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(400, 96)).astype("float32"), "y": np.arange(400) % 10}
    return {
        "learner": vt.flax_learner(Net(), optimizer=lambda h: optax.adam(h["lr"]), loss=xent),
        "space": {"lr": vt.Float(1e-4, 1e-2, log=True)},
        "data": vt.holdout(arrays, fraction=0.2, seed=0),
        "epochs": 4,
        **options,
    }


def test_steps_exchange_nothing_and_many_chips_move_as_much_each():
    """64 members a chip, refined: only what the refiner decides by and moves goes over links."""
    alone = vt.cost(**sweep(), search=vt.Halton(64), refiner=vt.PBT(), chip="v5e")
    many = vt.cost(**sweep(), search=vt.Halton(1024), refiner=vt.PBT(), chip="v5e", devices=16)
    assert (alone.devices, many.devices) == (1, 16)
    assert alone.step_collectives == many.step_collectives == alone.round_collectives == {}
    # One member from every chip to every other, of the 64 that each holds.
    assert "all-to-all" in many.round_collectives
    assert 0 < sum(many.round_collectives.values()) < alone.resident_bytes / 3
    assert many.bytes_per_member == pytest.approx(alone.bytes_per_member, rel=0.03)
    assert many.seconds_at_least == pytest.approx(alone.seconds_at_least, rel=0.05)
    assert alone.cycles == pytest.approx(many.cycles, rel=0.1)
    # A program elsewhere is none for this machine.
    assert np.isfinite(vt.tune(**sweep(), search=vt.Halton(2), progress=False).best.score)


@pytest.mark.parametrize(
    ("width", "members", "most", "most_from_main_memory", "floor"),
    [(32, 1024, 1.25e6, 1.1e6, 671472), (128, 256, 3.9e6, 2.6e6, None)],
)
def test_bytes_are_within_the_table(width, members, most, most_from_main_memory, floor):
    """Of `docs/benchmarks/chips/chips.md`, with a margin for other compilers. The weights of an
    MLP-128 stay on the chip from step to step, or 3.6 MB would come from main memory."""
    rng = np.random.default_rng(0)
    x, y = rng.random((33 * 32, 784), np.float32), rng.integers(0, 10, 33 * 32)

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = nn.relu(nn.Dense(width)(x))
            return nn.Dense(10)(x)

    found = vt.cost(
        vt.flax_learner(MLP(), optimizer=lambda h: optax.adam(h["lr"]), loss=xent),
        {"lr": vt.Float(1e-4, 1e-2, log=True)},
        vt.from_splits({"x": x[32:], "y": y[32:]}, {"x": x[:32], "y": y[:32]}),
        search=vt.Halton(members),
        epochs=1,
        chip="v5e",
    )
    assert found.bytes_per_member < most
    assert found.main_memory_bytes / members < most_from_main_memory
    assert found.kernels < 55
    # What moves the most are the model's own operations, and no copy of a weight.
    assert not [m.operation for m in found.movers if "the compiler's own" in m.operation]
    assert floor is None or found.floor_bytes_per_member == floor
