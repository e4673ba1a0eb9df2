"""What the tests of both loops over steps use: optimizers of many kinds."""

import jax
import optax

OPTIMIZERS = {
    "adam": lambda: optax.adam(0.01),
    "adamw, matrices only": lambda: optax.adamw(
        0.01, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    ),
    "momentum, clipped": lambda: optax.chain(
        optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9, nesterov=True)
    ),
    "adafactor": lambda: optax.adafactor(0.01, min_dim_size_to_factor=8),
    "lamb": lambda: optax.lamb(0.01),
    "muon": lambda: optax.contrib.muon(0.01),
    "every second step": lambda: optax.MultiSteps(optax.rmsprop(0.01), 2).gradient_transformation(),
    "where it is finite": lambda: optax.apply_if_finite(optax.lion(0.01), 3),
}
