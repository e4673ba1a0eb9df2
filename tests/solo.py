"""The slow, obvious reference: one member trained by a plain Flax + Optax loop.

Nothing of vtune is used but the two public rules, `vt.member_key` and `data.rows`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vtune as vt


def xent(logits, batch, h):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def batches(data, seed, steps, batch_size):
    """The training batches of steps 0, 1, ..."""
    per_epoch = data.train.shape[0] // batch_size
    rows = None
    for step in range(steps):
        if step % per_epoch == 0:
            rows = np.asarray(data.rows(seed, step // per_epoch, batch_size))
        yield {k: v[rows[step % per_epoch]] for k, v in data.arrays.items()}


def valid_batch(data):
    return {k: v[np.asarray(data.valid)] for k, v in data.arrays.items()}


@functools.lru_cache
def plain_loop(model, optimizer, mode=None):
    """Returns a function that trains a linen module in a Python loop over jitted steps.

    model, optimizer: functions of h. mode: "train" or "deterministic", the argument of
    `__call__` that says it, if any.
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
        return xent(out, batch, None).mean(), new

    @jax.jit
    def begin(key, x, h):
        variables = model(h).init(key, x, **off)
        return variables, optimizer(h).init(variables["params"])

    @jax.jit
    def step(params, other, opt_state, batch, key, h):
        (loss, new), grads = jax.value_and_grad(loss_of, has_aux=True)(params, other, batch, key, h)
        updates, opt_state = optax.with_extra_args_support(optimizer(h)).update(
            grads,
            opt_state,
            params,
            value=loss,
            grad=grads,
            value_fn=lambda p, **_: loss_of(p, other, batch, key, h)[0],
        )
        return optax.apply_updates(params, updates), {**other, **new}, opt_state, loss

    @jax.jit
    def logits_of(params, other, batch, h):
        return model(h).apply({"params": params, **other}, batch["x"], **off)

    def train(h, data, *, seed, id, steps, batch_size, path=None):
        """Returns the variables, the training losses and the validation metrics.

        path: (step) -> (id, h) where these change on the way, as a refiner makes them.
        """
        h = {k: jnp.asarray(v, float) for k, v in h.items()}
        key = vt.member_key(seed, id)
        params, opt_state = begin(key, data.arrays["x"][np.asarray(data.train)[:batch_size]], h)
        params, other = params["params"], {k: v for k, v in params.items() if k != "params"}
        losses = []
        for number, batch in enumerate(batches(data, seed, steps, batch_size)):
            if path is not None:
                id, h = path(number)
                key, h = vt.member_key(seed, id), {k: jnp.asarray(v, float) for k, v in h.items()}
            params, other, opt_state, loss = step(
                params, other, opt_state, batch, jax.random.fold_in(key, number), h
            )
            losses.append(float(loss))
        valid = valid_batch(data)
        logits = logits_of(params, other, valid, h)
        hits = np.asarray(jnp.argmax(logits, -1) == valid["y"], np.float64)
        metrics = {
            "loss": float(xent(logits, valid, None).mean()),
            "accuracy": float(hits.mean()),
        }
        return {"params": params, **other}, losses, metrics

    return train


def largest_difference(a, b):
    """The largest absolute difference between two pytrees of one structure."""
    gaps = jax.tree.map(lambda x, y: float(jnp.max(jnp.abs(jnp.asarray(x) - jnp.asarray(y)))), a, b)
    return max(jax.tree.leaves(gaps))
