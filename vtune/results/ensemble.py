"""Several members that predict together."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.dataset import Data
from vtune.data.scaling import check_scaling
from vtune.learner.protocol import Learner
from vtune.metrics.labels import one_logit
from vtune.metrics.totals import join_rows, split_rows
from vtune.types import Array, PyTree
from vtune.validation import is_whole

if TYPE_CHECKING:
    from vtune.results.member import Member
    from vtune.results.sweep import Sweep

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
    if data is not None and sweep._scaling:
        check_scaling("ensemble", sweep._scaling, data)
    data = data if data is not None else sweep.data
    if sweep._plan.replicates is not None:
        raise ValueError(
            "ensemble: the members of this sweep are several trainings each, of folds or seeds; "
            "train the settings on vt.holdout(...) without seeds= for an ensemble"
        )
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
    own = [sweep[i]._outputs(batch) for i in considered]
    combine = _how(combine, own[0], batch)
    outputs = [to_shares(combine, each) for each in own]
    judge = functools.partial(_judged, sweep, combine, considered[0], batch)
    if kind == "best":
        mean = jax.tree.map(lambda *each: sum(each[1:], each[0])[None] / len(each), *outputs)
        counts, score = dict.fromkeys(considered, 1), judge(mean)[0]
    else:
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *outputs)
        counts, score = _greedy(considered, stacked, k, judge)
    chosen = sorted(counts, key=lambda i: -counts[i])
    weights = np.array([counts[i] for i in chosen], np.float64) / sum(counts.values())
    sign = 1.0 if sweep.mode == "max" else -1.0
    return Ensemble(tuple(sweep[i] for i in chosen), weights, combine, sign * float(score))


def _greedy(
    members: list[int], outputs: PyTree, k: int, judge: Any
) -> tuple[dict[int, int], float]:
    """Caruana et al. 2004: k times the member that helps most, with replacement; of the bags on the
    way the best, the larger of equals."""
    total = jax.tree.map(lambda each: jnp.zeros_like(each[0]), outputs)
    bag, best = [], (-np.inf, 0)
    for n in range(k):
        mean = lambda so_far, each, n=n: (so_far[None] + each) / (n + 1)
        scores = judge(jax.tree.map(mean, total, outputs))
        pick = int(np.argmax(scores))
        bag.append(members[pick])
        total = jax.tree.map(lambda so_far, each, p=pick: so_far + each[p], total, outputs)
        best = max(best, (float(scores[pick]), n + 1))
    score, size = best
    return dict(Counter(bag[:size])), score


def _judged(sweep: Sweep, combine: str, member: int, batch: Any, shares: PyTree) -> np.ndarray:
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
    def score(h: Any, batch: Any, shares: PyTree) -> Array:
        weight = jnp.ones(len(next(iter(batch.values()))))

        def totals(share: PyTree) -> Any:
            assert learner.judge is not None
            return split_rows(learner.judge(h, from_shares(combine, share), batch, weight))

        summed, rows = jax.vmap(totals)(shares)
        joined = join_rows(summed, jax.tree.map(lambda leaf: leaf[None], rows))
        metrics = jax.vmap(lambda own: dict(learner.score(own)))(joined)
        return jax.vmap(metric)(metrics) if callable(metric) else metrics[metric]

    return jax.jit(score)


def to_shares(combine: str, outputs: PyTree) -> PyTree:
    """What is averaged: the outputs, or the probabilities that logits stand for; of a single logit
    those of both classes, [..., 2], so that neither rounds to 1."""
    if combine == "outputs":
        return outputs
    if combine == "single":
        return jnp.stack([jax.nn.sigmoid(-outputs), jax.nn.sigmoid(outputs)], axis=-1)
    return jax.nn.softmax(outputs, axis=-1)


def from_shares(combine: str, shares: PyTree) -> PyTree:
    """Outputs again, of averaged ones."""
    if combine == "outputs":
        return shares
    log = jnp.log(jnp.maximum(shares, jnp.finfo(shares.dtype).tiny))
    return log[..., 1] - log[..., 0] if combine == "single" else log


def _how(combine: str, outputs: PyTree, batch: Any) -> str:
    """What is averaged; "single" for the probabilities of single logits."""
    if combine == "outputs":
        return combine
    if not hasattr(outputs, "ndim") or "y" not in batch:
        raise TypeError(
            'ensemble: combine="probabilities" needs one array of logits and labels "y"; use '
            'combine="outputs"'
        )
    return "single" if one_logit(outputs, batch["y"]) else combine
