"""Ten public architectures of Flax's own layers, small: what `first_result.py` compiles."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import ResNet

ROWS, BATCH = 48, 8  # rows that train, and rows of a batch; as many batches are scored as there are


class MLP(nn.Module):
    """Widths 256 and 128, dropout (the classifier of Keras' MNIST example)."""

    @nn.compact
    def __call__(self, x, train):
        for width in (256, 128):
            x = nn.relu(nn.Dense(width)(x))
            x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(10)(x)


class CNN(nn.Module):
    """Two convolutions with pooling, two dense layers (Flax's MNIST example)."""

    @nn.compact
    def __call__(self, x):
        for width in (32, 64):
            x = nn.avg_pool(nn.relu(nn.Conv(width, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


class Block(nn.Module):
    """A block of a transformer: attention, then two dense layers (pre-norm)."""

    width: int
    rate: float = 0.1

    @nn.compact
    def __call__(self, x, train, mask=None):
        drop = partial(nn.Dropout, self.rate, deterministic=not train)
        y = nn.LayerNorm()(x)
        x = x + drop()(nn.MultiHeadDotProductAttention(4)(y, y, mask=mask))
        y = nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))
        return x + drop()(nn.Dense(self.width)(y))


class ViT(nn.Module):
    """Patches of 4 x 4, a class token, three blocks (Dosovitskiy et al. 2021)."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(64, (4, 4), (4, 4))(x)
        x = x.reshape(len(x), -1, 64)
        token = self.param("class", nn.initializers.zeros, (1, 1, 64))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], 1)
        x = x + self.param("place", nn.initializers.normal(0.02), (1, x.shape[1], 64))
        for _ in range(3):
            x = Block(64)(x, train)
        return nn.Dense(10)(nn.LayerNorm()(x)[:, 0])


class LanguageModel(nn.Module):
    """A decoder of three blocks that predicts the next token (Flax's lm1b example)."""

    @nn.compact
    def __call__(self, x, train):
        mask = nn.make_causal_mask(x)
        embed = nn.Embed(100, 64)
        x = embed(x) + self.param("place", nn.initializers.normal(0.02), (1, x.shape[1], 64))
        for _ in range(3):
            x = Block(64)(x, train, mask)
        return embed.attend(nn.LayerNorm()(x))


class LSTM(nn.Module):
    """Words, an LSTM, its last output (Keras' IMDB example)."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(0.2, deterministic=not train)(nn.Embed(100, 64)(x))
        x = nn.RNN(nn.LSTMCell(64))(x)[:, -1]
        return nn.Dense(10)(nn.tanh(nn.Dense(64)(x)))


class VAE(nn.Module):
    """An encoder and a decoder of dense layers (Flax's VAE example)."""

    @nn.compact
    def __call__(self, x, train):
        h = nn.relu(nn.Dense(256)(x))
        mean, logvar = nn.Dense(20)(h), nn.Dense(20)(h)
        z = mean
        if train:
            z = z + jnp.exp(logvar / 2) * jax.random.normal(self.make_rng("noise"), mean.shape)
        h = nn.relu(nn.Dense(256)(z))
        return nn.Dense(x.shape[-1])(h), mean, logvar


class UNet(nn.Module):
    """Two steps down and up again, GroupNorm, a label a pixel (Ronneberger et al. 2015)."""

    @nn.compact
    def __call__(self, x):
        def double(x, width):
            for _ in range(2):
                x = nn.relu(nn.GroupNorm(4)(nn.Conv(width, (3, 3))(x)))
            return x

        passed = []
        for width in (8, 16):
            x = double(x, width)
            passed.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = double(x, 32)
        for width, other in zip((16, 8), passed[::-1], strict=True):
            x = nn.ConvTranspose(width, (2, 2), (2, 2))(x)
            x = double(jnp.concatenate([x, other], -1), width)
        return nn.Conv(10, (1, 1))(x)


class Mixer(nn.Module):
    """Patches, then three blocks that mix tokens and channels (Tolstikhin et al. 2021)."""

    @nn.compact
    def __call__(self, x):
        mlp = lambda x, width: nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(width)(x)))
        x = nn.Conv(64, (4, 4), (4, 4))(x)
        x = x.reshape(len(x), -1, 64)
        for _ in range(3):
            y = mlp(nn.LayerNorm()(x).swapaxes(1, 2), 32).swapaxes(1, 2)
            x = x + y
            x = x + mlp(nn.LayerNorm()(x), 128)
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))


class Flow(nn.Module):
    """Six affine couplings; returns the log-likelihood of every row (Dinh et al. 2017)."""

    @nn.compact
    def __call__(self, x):
        half, total = x.shape[-1] // 2, 0.0
        for _ in range(6):
            fixed, moved = x[:, :half], x[:, half:]
            h = nn.relu(nn.Dense(64)(nn.relu(nn.Dense(64)(fixed))))
            shift, scale = jnp.split(nn.Dense(2 * half)(h), 2, -1)
            scale = nn.tanh(scale)
            x = jnp.concatenate([moved * jnp.exp(scale) + shift, fixed], -1)
            total = total + scale.sum(-1)
        return total - (x**2).sum(-1) / 2


def classified(outputs, batch):
    """Cross-entropy of every row, or of every pixel and token."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["y"])


def reconstructed(outputs, batch):
    """Minus the evidence lower bound of every row."""
    out, mean, logvar = outputs
    error = optax.sigmoid_binary_cross_entropy(out, batch["x"]).sum(-1)
    return error - (1 + logvar - mean**2 - jnp.exp(logvar)).sum(-1) / 2


@dataclass(frozen=True)
class Case:
    """A model with its data and its loss.

    Attributes:
      shape: of one row, of numbers from 0 to 1 or of tokens. labels: the shape of a row's labels.
      loss: (outputs, batch) -> [rows, ...]. stream: of random numbers that training draws, if any.
    """

    model: nn.Module
    shape: tuple[int, ...]
    tokens: bool = False
    labels: tuple[int, ...] = ()
    loss: Callable[[Any, Any], Any] = classified
    stream: str | None = None

    @property
    def mode(self) -> tuple[str, ...]:
        """The argument that tells the model whether it trains, if it has one."""
        taken = inspect.signature(type(self.model).__call__).parameters
        return ("train",) if "train" in taken else ()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Rows that train, and as many that are scored."""
        rng, size = np.random.default_rng(0), (2 * ROWS, *self.shape)
        x: Any = (
            rng.integers(0, 100, size, np.int32) if self.tokens else rng.random(size, "float32")
        )
        return {"x": x, "y": rng.integers(0, 10, (2 * ROWS, *self.labels)).astype("int32")}


CASES = {
    "MLP": Case(MLP(), (784,), stream="dropout"),
    "CNN": Case(CNN(), (16, 16, 1)),
    "ResNet": Case(ResNet((16, 32, 64, 128)), (16, 16, 3)),
    "ViT": Case(ViT(), (16, 16, 3), stream="dropout"),
    "language model": Case(LanguageModel(), (16,), True, (16,), stream="dropout"),
    "LSTM": Case(LSTM(), (16,), True, stream="dropout"),
    "VAE": Case(VAE(), (256,), loss=reconstructed, stream="noise"),
    "U-Net": Case(UNet(), (16, 16, 3), labels=(16, 16)),
    "Mixer": Case(Mixer(), (16, 16, 3)),
    "flow": Case(Flow(), (16,), loss=lambda outputs, batch: -outputs),
}
