"""Ensembles: several members that predict together."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.caches import bounded_cache
from vtune.data.dataset import Data
from vtune.data.looks import rows_of
from vtune.learner.captured import captured
from vtune.learner.protocol import Learner
from vtune.metrics.labels import one_logit
from vtune.metrics.totals import join_rows, split_rows
from vtune.results.given_data import usable_data
from vtune.results.member import Member
from vtune.results.member import outputs as member_outputs
from vtune.results.no_score import finished
from vtune.results.trained import Trained
from vtune.types import Array, PyTree, at_least_single
from vtune.validation import check_untraced, is_whole

KINDS = ("best", "greedy")
MOST_PICKS = 10_000  # of a greedy ensemble
COMBINE = ("outputs", "probabilities")


class Ensemble:
    """Members whose outputs are averaged; predicts like one of them.

    Attributes:
      members: without repetition, the largest weight first. weights: [members], they sum to 1.
      score: the value of the sweep's metric on the validation rows.
    """

    def __init__(
        self, members: tuple[Member, ...], weights: np.ndarray, combine: str, score: float
    ):
        self.members = members
        self.weights = weights
        self.score = score
        self._combine = combine

    def predict(self, x: Any) -> PyTree:
        """Returns the averaged outputs `[rows, ...]` for rows as `Member.predict` takes them.

        With combine="probabilities": the logarithms of the averaged probabilities, which are logits
        again.
        """
        shares = [to_shares(self._combine, member.predict(x)) for member in self.members]
        weights = self.weights.tolist()
        total = jax.tree.map(
            lambda *parts: sum(w * p for w, p in zip(weights, parts, strict=True)), *shares
        )
        return from_shares(self._combine, total)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{member.index}: {weight:.3g}"
            for member, weight in zip(self.members, self.weights, strict=True)
        )
        return f"Ensemble({parts}; {self.members[0].record.metric_name}={self.score:.4g})"


def ensemble(trained: Trained, kind: Any, k: Any, combine: Any, data: Data | None) -> Ensemble:
    """Chooses the members of an ensemble; see `Sweep.ensemble`."""
    check_untraced("ensemble")
    trained.check_whole()
    if is_whole(kind) and k is None:
        kind, k = "best", kind
    _check_arguments(kind, k, combine)
    data = _checked_data(trained, data)
    candidates = _candidates(trained, kind, k)
    batch = rows_of(data, np.asarray(data.valid))
    outputs = [member_outputs(trained, i, Member(trained, i).state, batch) for i in candidates]
    combine = _sharing(combine, outputs[0], batch)
    shares = [to_shares(combine, output) for output in outputs]
    judge = functools.partial(_judge, trained, combine, candidates[0], batch)
    if kind == "best":
        mean = jax.tree.map(lambda *s: sum(s[1:], s[0])[None] / len(s), *shares)
        counts, score = dict.fromkeys(candidates, 1), judge(mean)[0]
    else:
        stacked = jax.tree.map(lambda *s: jnp.stack(s), *shares)
        counts, score = _greedy(candidates, stacked, k, judge)
    chosen = sorted(counts, key=lambda i: -counts[i])
    weights = np.array([counts[i] for i in chosen], np.float64) / sum(counts.values())
    members = tuple(Member(trained, i) for i in chosen)
    return Ensemble(members, weights, combine, trained.plan.sign * float(score))


def _check_arguments(kind: Any, k: Any, combine: Any) -> None:
    if kind not in KINDS:
        raise ValueError(
            f"ensemble: kind={kind!r} must be one of {list(KINDS)}; write ensemble(5) or "
            'ensemble("greedy", 8)'
        )
    if not is_whole(k) or k < 1:
        raise ValueError(f"ensemble: k={k!r} must be a whole number, 1 or more")
    if kind == "greedy" and k > MOST_PICKS:
        raise ValueError(f"ensemble: k={k} picks are more than {MOST_PICKS:,}; give fewer")
    if combine not in COMBINE:
        raise ValueError(f"ensemble: combine={combine!r} must be one of {list(COMBINE)}")


def _checked_data(trained: Trained, data: Data | None) -> Data:
    """The sweep's data, or those given in their place."""
    if trained.plan.replicates is not None:
        raise ValueError(
            "ensemble: every member of this sweep is several trainings, of folds or seeds; train "
            "the settings on vt.holdout(...) without seeds= for an ensemble"
        )
    if trained.plan.learner.judge is None or trained.plan.learner.predict is None:
        raise ValueError(
            "ensemble: this learner cannot judge outputs; give Learner(predict=..., judge=...)"
        )
    data = usable_data("ensemble", trained, data)
    if data is None:
        raise ValueError("ensemble: the sweep was trained without data, so no rows can judge")
    return data


def _candidates(trained: Trained, kind: str, k: int) -> list[int]:
    """Columns of the members that may be chosen, the best first: those that trained to the end."""
    columns = finished(trained, "ensemble")
    if kind == "best" and k > len(columns):
        raise ValueError(
            f"ensemble: {k} members asked for, {len(columns)} have a finite score; give a smaller k"
        )
    return columns[:k] if kind == "best" else columns


def _greedy(
    columns: list[int], shares: PyTree, k: int, judge: Callable[[PyTree], np.ndarray]
) -> tuple[dict[int, int], float]:
    """Greedy selection with replacement (Caruana et al. 2004).

    Adds, k times, the member that helps most. Of the ensembles on the way it takes the best, and
    of equally good ones the largest.

    Returns:
      How often each column was taken, and the score.
    """
    total = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), shares)
    bag, best = [], (-np.inf, 0)
    for n in range(k):
        mean = lambda so_far, added, n=n: (so_far[None] + added) / (n + 1)
        scores = judge(jax.tree.map(mean, total, shares))
        pick = int(np.argmax(scores))
        bag.append(columns[pick])
        total = jax.tree.map(lambda so_far, added, p=pick: so_far + added[p], total, shares)
        best = max(best, (float(scores[pick]), n + 1))
    score, size = best
    return dict(Counter(bag[:size])), score


def _judge(trained: Trained, combine: str, column: int, batch: Any, shares: PyTree) -> np.ndarray:
    """[candidates] scores of averaged outputs, higher is better; -inf where not finite.

    Args:
      column: the member whose hyperparameters the metric is computed with.
      shares: leaves [candidates, rows, ...].
    """
    cohort = trained.plan.cohorts[trained.places[column][0]]
    scorer = _scorer(trained.plan.learner, trained.plan.metric, combine)
    values = np.asarray(scorer(cohort.h(trained.traced(column)), batch, shares), np.float64)
    return np.where(np.isfinite(values), trained.plan.sign * values, -np.inf)


@bounded_cache(8, captured)
def _scorer(learner: Learner, metric: Any, combine: str) -> Any:
    """A jitted function that computes the metric of every candidate's averaged outputs."""

    def score(h: Any, batch: Any, shares: PyTree) -> Array:
        weight = jnp.ones(len(next(iter(batch.values()))))

        def totals(share: PyTree) -> Any:
            assert learner.judge is not None
            return split_rows(learner.judge(h, from_shares(combine, share), batch, weight))

        summed, rows = jax.vmap(totals)(shares)
        joined = join_rows(summed, jax.tree.map(lambda leaf: leaf[None], rows))
        metrics = jax.vmap(lambda candidate: dict(learner.score(candidate)))(joined)
        return jax.vmap(metric)(metrics) if callable(metric) else metrics[metric]

    return jax.jit(score)


def to_shares(combine: str, outputs: PyTree) -> PyTree:
    """Returns what is averaged: the outputs, or the probabilities that they are logits of.

    For a single logit the probabilities of both classes, [..., 2], so that neither rounds to 1.
    """
    outputs = jax.tree.map(at_least_single, outputs)
    if combine == "outputs":
        return outputs
    if combine == "single":
        return jnp.stack([jax.nn.sigmoid(-outputs), jax.nn.sigmoid(outputs)], axis=-1)
    return jax.nn.softmax(outputs, axis=-1)


def from_shares(combine: str, shares: PyTree) -> PyTree:
    """Turns averaged shares into outputs again."""
    if combine == "outputs":
        return shares
    log = jnp.log(jnp.maximum(shares, jnp.finfo(shares.dtype).tiny))
    return log[..., 1] - log[..., 0] if combine == "single" else log


def _sharing(combine: str, outputs: PyTree, batch: Any) -> str:
    """The way of combining: as asked for, or "single" for the probabilities of single logits."""
    if combine == "outputs":
        return combine
    if not hasattr(outputs, "ndim") or "y" not in batch:
        raise TypeError(
            'ensemble: combine="probabilities" needs one array of logits and labels "y"; use '
            'combine="outputs"'
        )
    return "single" if one_logit(outputs, batch["y"]) else combine
