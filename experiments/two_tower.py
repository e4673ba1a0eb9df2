"""Two towers, of users and of items, that learn from likes by a sampled softmax."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ratings import Ratings, Split, check_ids

import vtune as vt

RANKED = {"target": "held", "exclude": "seen"}
METRICS = {
    "ndcg@10": vt.metrics.ndcg(k=10, **RANKED),
    "recall@10": vt.metrics.recall_at_k(k=10, **RANKED),
    "mrr": vt.metrics.mrr(**RANKED),
}


class Tower(nn.Module):
    """A vector of every id: an embedding, and what a layer adds to it."""

    count: int
    size: int
    dropout: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids, train: bool):
        kind = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.Embed(self.count, self.size, **kind)(ids)
        x = vt.nn.Dropout(self.dropout)(x, deterministic=not train)
        return x + nn.Dense(self.size, **kind)(nn.relu(nn.Dense(2 * self.size, **kind)(x)))


class TwoTower(nn.Module):
    """Scores of items for users, [rows, items]: the product of their towers.

    In training `item` [rows] are those that are scored; otherwise all of them.
    """

    users: int
    items: int
    size: int
    dropout: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, user, item=None, train: bool = False):
        ids = jnp.arange(self.items) if item is None else item
        tower = lambda count, name: Tower(count, self.size, self.dropout, self.dtype, name=name)
        users = tower(self.users, "user")(user, train)
        items = tower(self.items, "item")(ids, train)
        return users @ items.T


def draw(key, batch, h):
    """Adds one of the items that each row has seen, `item` [rows]: what the user likes."""
    del h
    count = jnp.sum(batch["seen"] >= 0, axis=1)
    place = (jax.random.uniform(key, count.shape) * count).astype(count.dtype)
    place = jnp.minimum(place, count - 1)  # where the product was rounded up
    return {**batch, "item": jnp.take_along_axis(batch["seen"], place[:, None], axis=1)[:, 0]}


def sampled_softmax(scores, item, log_q, negatives, correction):
    """The cross entropy of each row's item among it and the items of the rows that follow.

    The n items that follow stand for all others, so each is counted 1 / (n Q(j)) times, where Q(j)
    is how likely j is drawn: its score s(u, j) becomes s(u, j) - log(n Q(j)), and the sum of the
    exponentials is that of all items in the mean (Bengio and Senécal 2008). Without it, popular
    items are pushed down for being drawn often (Yi et al. 2019). Where another row's item is the
    row's own it is left out.

    Args:
      scores: [rows, rows], of every user and every row's item. item: [rows].
      log_q: [rows], of every row's item.
      negatives: n, how many rows that follow count; after the last comes the first.
      correction: 1, or 0 for none.

    Returns:
      [rows], in nats.
    """
    row = jnp.arange(len(item))
    after = (row[None, :] - row[:, None]) % len(item)
    drawn = jnp.minimum(negatives, len(item) - 1)
    other = (after > 0) & (after <= drawn) & (item[None, :] != item[:, None])
    logits = scores - correction * (log_q[None, :] + jnp.log(drawn))
    logits = jnp.where(after == 0, scores, jnp.where(other, logits, -jnp.inf))
    return jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(scores)


def loss_of(log_q):
    """Returns the loss: of drawn items the sampled softmax, of held-out ones that of all items."""

    def loss(scores, batch, h):
        if "item" in batch:  # in training
            own = jnp.asarray(log_q, scores.dtype)[batch["item"]]
            given = (batch["item"], own, h["negatives"], h["correction"])
            return sampled_softmax(scores, *given)
        known = batch["held"] >= 0
        ids = jnp.where(known, batch["held"], 0)
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), ids, axis=1), known

    return loss


def learner(users: int, items: int, log_q: np.ndarray, dtype: Any = jnp.float32) -> vt.Learner:
    """The learner of data that `rows_of_users` makes.

    Args:
      log_q: [items], see `log_drawn`.
    """
    return vt.flax_learner(
        lambda h: TwoTower(users, items, h["size"], h["dropout"], dtype),
        optimizer=lambda h: optax.adamw(
            vt.schedules.cosine(h["lr"], h["total_steps"]), weight_decay=h["weight_decay"]
        ),
        loss=loss_of(log_q),
        augment=draw,
        metrics=METRICS,
    )


def rows_of_users(likes: Ratings, split: Split) -> vt.Data:
    """Makes data with a row a user: `user`, `seen` [rows, ids] and `held` [rows, ids], ids of items
    filled up with -1. Training rows hold nothing out; test rows have seen what chose.

    Raises:
      ValueError: ids out of range, or not seen in training.
    """
    for name, ids, known in (
        ("users", likes.user, likes.users),
        ("items", likes.item, likes.items),
    ):
        for part in ("valid", "test"):
            held = ids[getattr(split, part)]
            check_ids(f"{name} of the {part} ratings", held, len(known), ids[split.train])
    both = np.concatenate([split.train, split.valid])
    width = _most(likes, both), max(_most(likes, split.valid), _most(likes, split.test))
    parts = []
    for seen, held in ((split.train, None), (split.train, split.valid), (both, split.test)):
        users = np.unique(likes.user[split.train if held is None else held])
        nothing = np.zeros(0, int)
        listed = [
            _listed(likes, rows, users, columns)
            for rows, columns in zip((seen, nothing if held is None else held), width, strict=True)
        ]
        parts.append({"user": users.astype(np.int32), "seen": listed[0], "held": listed[1]})
    return vt.from_splits(*parts)


def _most(likes: Ratings, rows: np.ndarray) -> int:
    return int(np.bincount(likes.user[rows], minlength=1).max())


def _listed(likes: Ratings, rows: np.ndarray, users: np.ndarray, columns: int) -> np.ndarray:
    """Returns the items of every user, [users, columns]."""
    rows = rows[np.isin(likes.user[rows], users)]
    rows = rows[np.argsort(likes.user[rows], kind="stable")]
    row = np.searchsorted(users, likes.user[rows])
    place = np.arange(len(rows)) - np.searchsorted(likes.user[rows], users)[row]
    listed = np.full((len(users), columns), -1, np.int32)
    listed[row, place] = likes.item[rows]
    return listed


def log_drawn(data: vt.Data, items: int) -> np.ndarray:
    """Returns log Q [items]: how likely an item is what `draw` takes of a random training row."""
    seen = np.asarray(data.arrays["seen"])[np.asarray(data.train)]
    share = 1 / np.maximum((seen >= 0).sum(axis=1), 1) / len(seen)
    chance = np.zeros(items + 1)
    np.add.at(chance, seen, np.broadcast_to(share[:, None], seen.shape) * (seen >= 0))
    return np.log(np.maximum(chance[:items], 1e-12))


def known_ndcg(data: vt.Data, scores: np.ndarray) -> np.ndarray:
    """Returns the NDCG@10 of known scores [ways, users, items], [ways, 2]: on the validation rows,
    and on the test rows."""
    weights = np.zeros((2, len(data.arrays["user"])), np.float32)
    for weight, rows in zip(weights, (data.valid, data.test), strict=True):
        weight[np.asarray(rows)] = 1
    metric = METRICS["ndcg@10"]

    @jax.jit
    def ndcg(scores, batch, weights):
        one = lambda scores, weight: metric.score(
            metric.measure(scores[batch["user"]], batch, weight)
        )
        return jax.vmap(lambda scores: jax.vmap(one, (None, 0))(scores, weights))(scores)

    return np.asarray(ndcg(np.asarray(scores, np.float32), data.arrays, weights))
