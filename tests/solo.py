"""The slow, obvious reference: one member trained by a plain Flax + Optax loop.

Nothing of vtune is used but the two public rules, `vt.member_key` and `data.rows`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from compiler import EXACT

import vtune as vt


def xent(logits, batch, h):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


exactly = functools.partial(jax.jit, compiler_options=EXACT)


@functools.partial(exactly, static_argnames="batch_size")
def rows_of_an_epoch(data, seed, epoch, batch_size):
    return data.rows(seed, epoch, batch_size)


def batches(data, seed, steps, batch_size, fold=None):
    """The training batches of steps 0, 1, ..."""
    size = data.train_rows if fold is None else data.train_sizes[fold]
    per_epoch = size // batch_size
    rows = None
    for step in range(steps):
        if step % per_epoch == 0:
            rows = rows_of_an_epoch(data, np.uint32(seed), step // per_epoch, batch_size)
            rows = np.asarray(rows) if fold is None else np.asarray(rows)[fold]
        yield own_rows(data, rows[step % per_epoch], fold)


def valid_batch(data, fold=None):
    return own_rows(data, np.asarray(data.valid) if fold is None else data.fold(fold)[1], fold)


def own_rows(data, rows, fold=None):
    """Some rows of the data, scaled as their fold is."""
    taken = {k: np.asarray(v)[rows] for k, v in data.arrays.items()}
    if fold is not None:
        for k, (shift, factor) in data.scaling.items():
            taken[k] = (taken[k] - np.asarray(shift[fold])) / np.asarray(factor[fold])
    return taken


def mean(loss):
    """The mean of values, or of values with weights."""
    return jnp.average(loss[0], weights=loss[1]) if isinstance(loss, tuple) else loss.mean()


def floats(h):
    """Hyperparameters as the arrays that a jitted function takes."""
    return {k: np.asarray(v, jax.dtypes.canonicalize_dtype(float)) for k, v in h.items()}


@functools.lru_cache
def plain_loop(model, optimizer, mode=None, loss=xent, penalty=None, augment=None):
    """Returns a function that trains a linen module in a Python loop over jitted steps.

    model, optimizer: functions of h. mode: "train" or "deterministic", the argument of
    `__call__` that says it, if any. loss, penalty, augment: as a learner takes them.
    """
    on, off = {}, {}
    if mode:
        on, off = {mode: mode == "train"}, {mode: mode != "train"}

    def loss_of(params, other, batch, key, h):
        out, new = model(h).apply(
            {"params": params, **other},
            batch["x"],
            rngs={"dropout": key},
            mutable=list(other) or ["nothing"],
            **on,
        )
        value = loss(out, batch, h)
        value = (
            jnp.sum(value[0] * value[1]) / jnp.sum(value[1]) if isinstance(value, tuple) else value
        )
        return value.mean() + (penalty(params, h) if penalty else 0.0), new

    @exactly
    def begin(key, x, h, start):
        variables = model(h).init(key, x, **off)
        params = {**variables["params"], **(start or {})}
        return {**variables, "params": params}, optimizer(h).init(params)

    @exactly
    def step(params, other, opt_state, batch, member_key, number, h):
        key = jax.random.fold_in(member_key, number)
        if augment:
            batch = augment(jax.random.fold_in(key, 0), batch, h)
        (value, new), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params, other, batch, key, h
        )
        updates, opt_state = optax.with_extra_args_support(optimizer(h)).update(
            grads,
            opt_state,
            params,
            value=value,
            grad=grads,
            value_fn=lambda p, **_: loss_of(p, other, batch, key, h)[0],
        )
        return optax.apply_updates(params, updates), {**other, **new}, opt_state, value

    @exactly
    def judge(params, other, batch, h):
        logits = model(h).apply({"params": params, **other}, batch["x"], **off)
        return mean(loss(logits, batch, h)), jnp.argmax(logits, -1) == batch["y"]

    def train(
        h,
        data,
        *,
        seed,
        id,
        steps,
        batch_size,
        path=None,
        start=None,
        others=None,
        show=None,
        fold=None,
        repeat=None,
    ):
        """Returns the variables, the training losses and the validation metrics.

        path: (step) -> (id, h) where these change on the way, as a refiner makes them. start,
        others: parameters and other variables from elsewhere. show: (opt_state, params) -> the
        weights that are judged.
        fold, repeat: of data in folds, or with seeds.
        """
        h = floats(h)
        key = vt.member_key(seed, id, fold, repeat)
        known = data.train if fold is None else data.train[fold]
        first = own_rows(data, np.asarray(known)[:batch_size], fold)["x"]
        params, opt_state = begin(key, first, h, start)
        params, other = params["params"], {k: v for k, v in params.items() if k != "params"}
        other |= others or {}
        losses = []
        for number, batch in enumerate(batches(data, seed, steps, batch_size, fold)):
            if path is not None:
                id, h = path(number)
                key, h = vt.member_key(seed, id), floats(h)
            params, other, opt_state, value = step(
                params, other, opt_state, batch, key, np.int32(number), h
            )
            losses.append(value)
        params = params if show is None else show(opt_state, params)
        value, hits = judge(params, other, valid_batch(data, fold), h)
        metrics = {"loss": float(value), "accuracy": float(np.asarray(hits).mean())}
        return {"params": params, **other}, [float(value) for value in losses], metrics

    return train


def largest_difference(a, b):
    """The largest absolute difference between two pytrees of one structure."""

    def gap(x, y):
        assert np.shape(x) == np.shape(y)
        return float(np.max(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64))))

    return max(jax.tree.leaves(jax.tree.map(gap, a, b)))
