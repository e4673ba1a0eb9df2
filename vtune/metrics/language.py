"""Language metrics: logits of the next symbol against the symbol that came.

Logits are `[rows, places, symbols]` and labels `y` whole numbers `[rows, places]`, or `[rows,
symbols]` and `[rows]`. All places of all rows count alike: a long text more than a short one.
Padding is left out with `weight="mask"`, or with `ignore=` and its label.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, documented, mean, targets
from vtune.metrics.labels import check_labels, one_logit
from vtune.types import Array, Batch, Outputs, at_least_single


def _surprise(outputs: Outputs, batch: Batch) -> Array:
    """Returns the negative log-likelihood of every place [rows, ...], in nats."""
    logits = at_least_single(outputs)
    own = jnp.take_along_axis(logits, jnp.asarray(batch["y"], jnp.int32)[..., None], axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - own[..., 0]


def _of_mean(who: str, score: Callable[[Array], Array]) -> Metric:
    """Returns the metric that is a function of the mean cross-entropy in nats."""

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        labels, leaves = targets(who, arrays), jax.tree.leaves(outputs)
        # Of classes this would be a lone logit.
        if len(leaves) == 1 and one_logit(leaves[0], labels):
            raise ValueError(
                f"{who} needs a logit for every symbol, the model's outputs are "
                f"{list(leaves[0].shape[1:])} a row and the labels batch['y'] "
                f"{list(labels.shape[1:])}; return logits [rows, places, symbols] for labels "
                "[rows, places]"
            )
        check_labels(outputs, arrays)

    entropy = mean(_surprise, mode="min", check=check)
    return dataclasses.replace(entropy, score=lambda totals: score(entropy.score(totals)))


perplexity = documented(
    _of_mean("perplexity", jnp.exp),
    """The exponential of the mean cross-entropy: among how many symbols, all equally likely, one
    would be as uncertain (Jelinek et al. 1977).

    Logits [rows, places, symbols] against labels `y` [rows, places], or [rows, symbols] against
    [rows]. The mean is over all places that count, by their weights, and the exponential is taken
    once, of the mean over all rows. It is 1 at best, the number of symbols where all are equally
    likely, and infinite in single precision where the mean is above 88.

        vt.metrics.perplexity(weight="mask")
        vt.metrics.perplexity(ignore=0)
    """,
)
bits_per_character = documented(
    _of_mean("bits_per_character", lambda entropy: entropy / math.log(2)),
    """The mean cross-entropy in bits: how long a text becomes, for every character, when an
    arithmetic coder writes it with the model's probabilities (Shannon 1951).

    As `perplexity`, of which it is the logarithm to base 2. Where symbols are no characters, it is
    bits a symbol.
    """,
)
