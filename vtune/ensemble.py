"""Several members that predict together."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data import Data
from vtune.learner import Learner
from vtune.totals import join_rows, split_rows
from vtune.types import Array, PyTree, is_whole

if TYPE_CHECKING:
    from vtune.member import Member
    from vtune.sweep import Sweep

KINDS = ("best", "greedy")
COMBINE = ("outputs", "probabilities")


class Ensemble:
    """Members whose outputs are averaged; predicts like one of them.

    Attributes:
      members: each once, the heaviest first. weights: [members], how much each counts, sum 1.
      score: of the sweep's metric on the validation rows.
    """

    def __init__(
        self, members: tuple[Member, ...], weights: np.ndarray, combine: str, score: float
    ):
        self.members = members
        self.weights = weights
        self.score = score
        self._combine = combine

    def predict(self, x: Any) -> PyTree:
        """The averaged outputs `[rows, ...]`; with combine="probabilities" the logarithms of the
        averaged probabilities, which are logits again."""
        shares = [to_shares(self._combine, member.predict(x)) for member in self.members]
        weights = self.weights.tolist()
        total = jax.tree.map(
            lambda *own: sum(w * o for w, o in zip(weights, own, strict=True)), *shares
        )
        return from_shares(self._combine, total)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{member.index}: {weight:.3g}"
            for member, weight in zip(self.members, self.weights, strict=True)
        )
        return f"Ensemble({parts}; {self.members[0]._sweep.metric_name}={self.score:.4g})"


def ensemble(sweep: Sweep, kind: Any, k: Any, combine: Any, data: Data | None) -> Ensemble:
    """See `Sweep.ensemble`."""
    if is_whole(kind) and k is None:
        kind, k = "best", kind
    if kind not in KINDS:
        raise ValueError(
            f'ensemble: {kind!r} is no kind; write ensemble(5) or ensemble("greedy", 8)'
        )
    if not is_whole(k) or k < 1:
        raise ValueError(f"ensemble: k={k!r} must be a whole number, 1 or more")
    if combine not in COMBINE:
        raise ValueError(f"ensemble: combine={combine!r} must be one of {list(COMBINE)}")
    data = data if data is not None else sweep.data
    if data is None:
        raise ValueError("ensemble: a loaded sweep holds no data; give ensemble(..., data=...)")
    if sweep.learner.judge is None or sweep.learner.predict is None:
        raise ValueError(
            "ensemble: this learner cannot judge outputs; give Learner(predict=..., judge=...)"
        )
    # Of members that trained to the end, the best first.
    able = [i for i in sweep.ranking.tolist() if np.isfinite(sweep.scores[i])]
    able = [i for i in able if not sweep[i]._dropped]
    if not able:
        raise ValueError("ensemble: no member has a finite score")
    if kind == "best" and k > len(able):
        raise ValueError(f"ensemble: {k} members asked for, {len(able)} have a finite score")
    rows = np.asarray(data.valid)
    batch = {name: np.asarray(values)[rows] for name, values in data.arrays.items()}
    considered = able[:k] if kind == "best" else able
    outputs = [to_shares(combine, sweep[i]._outputs(batch)) for i in considered]
    judge = functools.partial(_judged, sweep, combine, considered[0], batch)
    if kind == "best":
        counts, score = dict.fromkeys(considered, 1), judge(_mean(outputs)[None])[0]
    else:
        counts, score = _greedy(considered, jnp.stack(outputs), k, judge)
    chosen = sorted(counts, key=lambda i: -counts[i])
    weights = np.array([counts[i] for i in chosen], np.float64) / sum(counts.values())
    sign = 1.0 if sweep.mode == "max" else -1.0
    return Ensemble(tuple(sweep[i] for i in chosen), weights, combine, sign * float(score))


def _greedy(members: list[int], outputs: Array, k: int, judge: Any) -> tuple[dict[int, int], float]:
    """Caruana et al. 2004: k times the member that helps most, with replacement; of the bags on the
    way the best, the larger of equals."""
    total, bag, best = jnp.zeros_like(outputs[0]), [], (-np.inf, 0)
    for n in range(k):
        scores = judge((total[None] + outputs) / (n + 1))
        pick = int(np.argmax(scores))
        bag.append(members[pick])
        total = total + outputs[pick]
        best = max(best, (float(scores[pick]), n + 1))
    score, size = best
    return dict(Counter(bag[:size])), score


def _mean(outputs: list[Array]) -> Array:
    return sum(outputs[1:], outputs[0]) / len(outputs)


def _judged(sweep: Sweep, combine: str, member: int, batch: Any, shares: Array) -> np.ndarray:
    """[candidates] scores of averaged outputs, higher is better; worst where not finite."""
    place, slot = sweep[member]._place
    cohort, population = sweep._plan.cohorts[place], sweep._populations[place]
    traced = {name: np.asarray(values)[slot] for name, values in population.hparams.items()}
    scorer = _scorer(sweep.learner, sweep._plan.metric, combine)
    values = np.asarray(scorer(cohort.h(traced), batch, shares), np.float64)
    sign = 1.0 if sweep.mode == "max" else -1.0
    return np.where(np.isfinite(values), sign * values, -np.inf)


@functools.lru_cache(maxsize=8)
def _scorer(learner: Learner, metric: Any, combine: str) -> Any:
    def score(h: Any, batch: Any, shares: Array) -> Array:
        weight = jnp.ones(shares.shape[1])

        def totals(share: Array) -> Any:
            assert learner.judge is not None
            return split_rows(learner.judge(h, from_shares(combine, share), batch, weight))

        summed, rows = jax.vmap(totals)(shares)
        joined = join_rows(summed, jax.tree.map(lambda leaf: leaf[None], rows))
        metrics = jax.vmap(lambda own: dict(learner.score(own)))(joined)
        return jax.vmap(metric)(metrics) if callable(metric) else metrics[metric]

    return jax.jit(score)


def to_shares(combine: str, outputs: PyTree) -> PyTree:
    """What is averaged: the outputs, or the probabilities that logits stand for."""
    if combine == "outputs":
        return outputs
    _check_logits(outputs)
    return jax.nn.sigmoid(outputs) if _one(outputs) else jax.nn.softmax(outputs, axis=-1)


def from_shares(combine: str, shares: PyTree) -> PyTree:
    """Outputs again, of averaged ones."""
    if combine == "outputs":
        return shares
    tiny = jnp.finfo(shares.dtype).tiny
    log = lambda p: jnp.log(jnp.maximum(p, tiny))
    return log(shares) - log(1 - shares) if _one(shares) else log(shares)


def _one(outputs: Array) -> bool:
    """A single logit a row."""
    return outputs.ndim == 1 or outputs.shape[-1] == 1


def _check_logits(outputs: Any) -> None:
    if not hasattr(outputs, "ndim"):
        raise TypeError('ensemble: combine="probabilities" needs one array of logits')
