"""Ratings made of known biases and factors, so that it is known how well they can be predicted."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from ratings import Ratings

LIKED = 4.0  # stars; a rating of so many, or more, is counted as liked


class Made(NamedTuple):
    """Ratings, and what they were made of.

    Attributes:
      ratings: what a model sees.
      truth: [ratings], each without its noise: mean + b_u + c_i + p_u . q_i.
      liked: [users, items], the chance that a user has rated an item, and likes it.
    """

    ratings: Ratings
    truth: np.ndarray
    liked: np.ndarray

    def best_rmse(self, rows: np.ndarray) -> float:
        """Returns the RMSE of the truth on some ratings, below which only luck leads."""
        return float(np.sqrt(np.mean((self.ratings.rating[rows] - self.truth[rows]) ** 2)))


def make(
    users: int = 800,
    items: int = 400,
    ratings: int = 120_000,
    *,
    factors: int = 2,
    noise: float = 0.8,
    seed: int = 0,
) -> Made:
    """Makes ratings r = 3.5 + b_u + c_i + p_u . q_i + e, of real numbers that no scale cuts.

    b_u, c_i and e are normal with deviations 0.4, 0.5 and `noise`, p_u . q_i with 0.8 in all. Which
    are there does not depend on what they are, but on how active a user is (log-normal) and how
    popular an item is (1 / (rank + 5)^0.8): so many pairs are drawn without replacement, in
    proportion to the product of both (by adding Gumbel noise; Yellott 1977).
    """
    rng = np.random.default_rng(seed)
    active = 0.5 * rng.normal(size=users)
    popular = -0.8 * np.log(np.arange(items) + 6.0)[rng.permutation(items)]
    weight = active[:, None] + popular[None, :]
    drawn = np.argpartition(-(weight + rng.gumbel(size=weight.shape)).ravel(), ratings)[:ratings]
    user, item = np.divmod(rng.permutation(drawn), items)
    b, c = 0.4 * rng.normal(size=users), 0.5 * rng.normal(size=items)
    p, q = rng.normal(size=(users, factors)), rng.normal(size=(items, factors))
    truth = 3.5 + b[:, None] + c[None, :] + 0.8 / math.sqrt(factors) * p @ q.T
    rating = truth[user, item] + noise * rng.normal(size=ratings)
    above = np.vectorize(math.erfc)((LIKED - truth) / (noise * math.sqrt(2))) / 2
    found = Ratings(
        user.astype(np.int32),
        item.astype(np.int32),
        rating.astype(np.float32),
        np.arange(ratings, dtype=np.int64),
        np.arange(users),
        np.arange(items),
    )
    return Made(found, truth[user, item], _rated(weight, ratings) * above)


def _rated(weight: np.ndarray, count: int) -> np.ndarray:
    """Returns the chance of every pair to be among so many drawn, 1 - exp(-exp(weight + t))."""
    chance = lambda t: -np.expm1(-np.exp(weight + t))
    low, high = -50.0, 50.0
    for _ in range(60):  # bisection for t, at which they sum to the count
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle).sum() < count else (low, middle)
    return chance(low)
