"""What is trained: Flax models, their sizes, and random data of the right shape."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import flax.linen as nn
import numpy as np


class MLP(nn.Module):
    widths: tuple[int, ...]
    dtype: Any = None  # of the arithmetic; parameters are float32

    @nn.compact
    def __call__(self, x):
        for width in self.widths:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        return nn.Dense(10, dtype=self.dtype)(x)


class CNN(nn.Module):
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        for width in (32, 64):
            x = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(64, dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, dtype=self.dtype)(x)


class ResNet(nn.Module):
    """Stages of one block each, with BatchNorm (He et al. 2016)."""

    widths: tuple[int, ...] = (16, 32, 64)

    @nn.compact
    def __call__(self, x, train):
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv = partial(nn.Conv, use_bias=False)
        x = nn.relu(norm()(conv(16, (3, 3))(x)))
        for stage, width in enumerate(self.widths):
            stride = 1 if stage == 0 else 2
            y = nn.relu(norm()(conv(width, (3, 3), stride)(x)))
            y = norm()(conv(width, (3, 3))(y))
            if stage:
                x = norm()(conv(width, (1, 1), stride)(x))
            x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


class Transformer(nn.Module):
    """Two layers of four heads, 64 wide, over 32 tokens of 256 kinds."""

    @nn.compact
    def __call__(self, x):
        x = nn.Embed(256, 64)(x) + self.param("place", nn.initializers.normal(0.02), (32, 64))[None]
        for _ in range(2):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(y, y)
            y = nn.LayerNorm()(x)
            x = x + nn.Dense(64)(nn.gelu(nn.Dense(256)(y)))
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))


@dataclass(frozen=True)
class Workload:
    """A model trained with Adam on random rows.

    Attributes:
      shape: of one row. steps: how many are timed, all members. epochs: how often they are taken.
      peers: names of what it is compared with; see `bench.py`.
      targets: by peer, how many times faster vtune is meant to be.
      plain_steps: how many steps of the plain vmapped scan are timed, where it is very slow; two
        at least, since a scan of one step is no loop, and its convolutions are quick.
    """

    name: str
    model: nn.Module
    batch: int
    members: int
    steps: int
    shape: tuple[int, ...] = (784,)
    peers: tuple[str, ...] = ("plain", "loop", "torch", "torch_vmap")
    targets: dict[str, float] = field(default_factory=dict)
    plain_steps: int | None = None
    epochs: int = 1

    @property
    def tokens(self) -> bool:
        return isinstance(self.model, Transformer)

    @property
    def mode(self) -> dict[str, bool]:
        """What the model is told when it trains."""
        return {"train": True} if isinstance(self.model, ResNet) else {}

    def little(self) -> Workload:
        """What shows that the code runs: for a convolution as it is written some CPUs need seconds
        a batch."""
        return replace(self, members=2, steps=2, batch=8)

    def data(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows and labels for `steps` batches, and one more to score on."""
        rng = np.random.default_rng(seed)
        rows = (self.steps + 1) * self.batch
        if self.tokens:
            x: Any = rng.integers(0, 256, (rows, *self.shape), np.int32)
        else:
            x = rng.random((rows, *self.shape), np.float32)
        return x, rng.integers(0, 10, rows).astype(np.int32)

    def rates(self) -> np.ndarray:
        return np.geomspace(1e-4, 1e-2, self.members).astype(np.float32)


_SMALL = ("plain", "loop", "by_hand", "torch", "torch_vmap")
WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "MLP-32",
            MLP((32, 32)),
            batch=32,
            members=256,
            steps=100,
            peers=_SMALL,
            targets={"torch": 15, "torch_vmap": 2.5, "loop": 10},
        ),
        Workload(
            "MLP-128",
            MLP((128, 128)),
            batch=64,
            members=64,
            steps=100,
            peers=_SMALL,
            targets={"torch": 5, "torch_vmap": 2.5, "plain": 1.5, "roofline": 0.6},
        ),
        Workload(
            "MLP-256",
            MLP((256, 256)),
            batch=128,
            members=64,
            steps=20,
            peers=_SMALL,
            targets={"torch": 3},
        ),
        Workload(
            "CNN",
            CNN(),
            batch=64,
            members=16,
            steps=40,
            shape=(28, 28, 1),
            peers=("plain", "loop", "torch"),
            targets={"torch": 1.7, "plain": 10, "roofline": 0.4},
            plain_steps=2,
        ),
        Workload(
            "ResNet",
            ResNet(),
            batch=32,
            members=8,
            steps=12,
            shape=(32, 32, 3),
            peers=("plain", "loop", "torch"),
            targets={"torch": 1.2, "plain": 10},
            plain_steps=2,
        ),
        Workload(
            "Transformer",
            Transformer(),
            batch=32,
            members=16,
            steps=20,
            shape=(32,),
            peers=("plain", "loop", "torch"),
        ),
    )
}
