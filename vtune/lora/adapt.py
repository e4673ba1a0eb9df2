"""`vt.lora.adapt`: a learner whose members train low-rank adapters."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
from flax import nnx

from vtune.learner import Learner
from vtune.learner.adapted import Adapted
from vtune.learner.freezing import ALL_BUT
from vtune.lora.chosen import check_only
from vtune.lora.net import ADAPTERS, AdaptedNet
from vtune.lora.settings import Settings


def adapt(
    learner: Any,
    *,
    rank: Any,
    alpha: Any = None,
    only: Any = None,
    dropout: Any = 0.0,
    max_rank: int | None = None,
) -> Any:
    """Returns a learner whose members train low-rank adapters of an unmodified model (LoRA).

    Each chosen weight W acts as W + (alpha / rank) A B where the model uses it (Hu et al. 2021,
    "LoRA: Low-Rank Adaptation of Large Language Models"): x W becomes x W + (alpha / rank) (x A) B,
    and W + A B is never formed. A has the axes that the product sums over and the rank behind, B
    the rank and the other axes: of a kernel [3, 3, in, out] of a convolution A is [3, 3, in, rank],
    B [rank, out]; of a table [vocabulary, features] rows of A are looked up. Weights of a batch of
    products, and those that `nn.scan` stacks, have an adapter a layer.

    `vt.tune(adapted, space, data, init_from=weights)` freezes all weights but the adapters, so that
    members share them. With `frozen=("all but", ["^lora/", "^head/"])` a head is trained as well.
    `init_from=` holds the model's own weights; adapters are drawn unless it has them too, under
    "lora" in the form of `member.variables`.

    A is drawn from the normal distribution with the standard deviation 1 / sqrt(inputs) and B is 0;
    of a table A is 0 and B standard normal. An adapter's key is the member key folded with
    0x6C6F7261 and then with `zlib.crc32` of the weight's path, such as b"Dense_0/kernel"; that of
    its dropout is the step key, folded likewise. A weight that is used several times in a step, or
    whose layers `nn.scan` stacks, has one key for all.

    Args:
      learner: of `vt.flax_learner` or `vt.nnx_learner`; or the model alone, as these take it:
        `vt.flax_learner(vt.lora.adapt(model, rank=8), optimizer=..., loss=...)`.
      rank: of A B, 1 to the smaller side of the matrix; a number or a function of h. With
        `vt.Categorical` it is structural. With `vt.Int` it is traced: all adapters have `max_rank`
        columns, of which the first `rank` count.
      alpha: a number above 0 or a function of h; the rank when left out, so that the scale is 1.
      only: which weights: a regular expression that is searched in paths such as
        "encoder/Dense_0/kernel", a list of them, or a function of the path, a tuple of names. When
        left out, all weights of two or more axes that are in products and nowhere else; tables
        that are only looked up must be named. Biases are never meant.
      dropout: the rate at which entries of the adapter's input are dropped in training, a number
        from 0 to below 1 or a function of h, which may be traced. Lookups have none.
      max_rank: the columns of adapters whose rank is traced.

    Raises:
      TypeError, ValueError: an argument is of the wrong kind, at once; a rank does not fit, or
        `only=` means no weight or one that reaches something else than products, when `vt.tune`
        starts.

    Examples:
      >>> import flax.linen as nn, optax, vtune as vt
      >>> learner = vt.flax_learner(
      ...     nn.Dense(3),
      ...     optimizer=lambda h: optax.adam(h["lr"]),
      ...     loss=lambda out, batch, h: optax.l2_loss(out, batch["y"]),
      ... )
      >>> adapted = vt.lora.adapt(learner, rank=lambda h: h["rank"], alpha=4, max_rank=2)
    """
    settings = Settings(rank, alpha, dropout, max_rank)
    settings.check()
    check_only(only)
    if _is_model(learner):
        own = {"rank": rank, "alpha": alpha, "only": only, "dropout": dropout}
        return Adapted(learner, functools.partial(adapt, **own, max_rank=max_rank))
    freezing = getattr(learner, "freezing", None)
    if freezing is None or freezing.remade is None:
        raise TypeError(
            f"vt.lora.adapt: got {_shown(learner)}, which does not say what its model is; give a "
            "learner of vt.flax_learner or vt.nnx_learner, or a model as these take it"
        )
    if isinstance(freezing.net, AdaptedNet):
        raise ValueError(
            "vt.lora.adapt: the learner has adapters already; adapt the one that it was made of, "
            "with only=[...] for several parts of the model"
        )
    net = AdaptedNet(freezing.net, settings, tuple(only) if isinstance(only, list) else only)
    return freezing.remade(net, (ALL_BUT, f"^{ADAPTERS}/"))


def _is_model(given: Any) -> bool:
    """Whether this is a linen module, or a function that makes a model."""
    is_function = callable(given) and not isinstance(given, type | nnx.Module)
    return isinstance(given, nn.Module) or is_function


def _shown(learner: Any) -> str:
    return "a learner of functions" if isinstance(learner, Learner) else repr(learner)
