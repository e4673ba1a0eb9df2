"""`nnx_learner` makes a learner of a `flax.nnx` module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from flax.errors import TraceContextError
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.hparams import Hparams
from vtune.keywords import answering
from vtune.learner.adapted import Adapted, taken_apart
from vtune.learner.assemble import assemble
from vtune.learner.calling import calling
from vtune.learner.contracts import call_arguments
from vtune.learner.freezing import is_filter
from vtune.learner.frozen import WEIGHTS
from vtune.learner.mode import NAMES, mode_value
from vtune.learner.nnx_advice import APPLY, FOREIGN, check_created, check_model
from vtune.learner.parts import Parts
from vtune.learner.protocol import Learner
from vtune.learner.statistics import Path, running
from vtune.learner.unswitched import warn_constant
from vtune.metrics import Metric
from vtune.returned import ReturnedError, described
from vtune.rng.keys import IMPL
from vtune.types import Batch, Key, Outputs, PyTree
from vtune.validation import check_call


@answering
def nnx_learner(
    model: Callable[[Hparams, nnx.Rngs], nnx.Module] | Adapted,
    *,
    optimizer: Callable[[Hparams], Any],
    loss: Callable[..., Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    train_metrics: Mapping[str, Metric] | None = None,
    penalty: Callable[[PyTree, Hparams], Any] | None = None,
    batch_loss: Callable[..., Any] | None = None,
    augment: Callable[..., Any] | None = None,
    eval_params: Callable[..., Any] | None = None,
    recompute_statistics: int | None = None,
    apply: Callable[..., Any] | None = None,
    rewrite: str = "auto",
) -> Learner:
    """Makes a learner of an nnx module, an Optax optimizer and a loss.

    Args:
      model: (h, rngs) -> the module, called with `nnx.Rngs(member key)`. Its `nnx.Param`s are
        trained; other variables, such as BatchNorm statistics, are carried per member. Before
        each step the random streams are reseeded: a stream `dropout` by
        `nnx.reseed(module, dropout=step_key)`, and those stacked by `nnx.split_rngs` with the
        policy "match_shape". Of several streams, in alphabetical order, the second and later ones
        get the step key folded with 1, 2, ... A `__call__` that takes `rngs` is given
        `nnx.Rngs(step_key)`, if the argument has no default or layers keep no streams.
      optimizer, loss, metrics, train_metrics, penalty, batch_loss: as in `vt.flax_learner`.
      augment, eval_params, recompute_statistics, rewrite: as in `vt.flax_learner`. The module's
        `train()` or `eval()` is called first, and the mode is passed to `__call__`, and set in
        attributes, under the names that `vt.flax_learner` knows.
      apply: (model, batch, *, train, rngs) -> outputs, for modules that `__call__` does not suit;
        `rngs` is `nnx.Rngs(step_key)`. Variables that a call creates, such as sown losses, can be
        read and removed here: `return model(batch["x"]), nnx.pop(model, Loss)`.

    Returns:
      A `Learner`. `Member.variables` goes into `nnx.update(module, variables)`.

    Raises:
      TypeError, ValueError: as `vt.flax_learner`.
    """
    made, adapt = taken_apart(model)
    check_model(made)
    if apply is not None:
        check_call("apply", apply, "model, batch", "train, rngs")
    parts = Parts(
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        train_metrics=train_metrics,
        penalty=penalty,
        batch_loss=batch_loss,
        augment=augment,
        eval_params=eval_params,
        recompute_statistics=recompute_statistics,
        rewrite=rewrite,
    )
    return adapt(assemble(NnxNet(made, apply), parts))


@dataclass(frozen=True)
class NnxNet:
    """An nnx module as a `Net`; its other variables are {"variables": ..., "key": the first key}.

    Attributes:
      model: (h, rngs) -> the module.
      user_apply: what calls the module in the user's own way, or None.
      settled: paths of variables that are not to change, see `frozen.py`.
    """

    model: Callable[[Hparams, nnx.Rngs], nnx.Module]
    user_apply: Callable[..., Any] | None = None
    settled: frozenset[tuple[Any, ...]] = frozenset()

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        _, params, _, variables, _ = _split(self._module(key, h))
        other = {"variables": nnx.to_pure_dict(variables), "key": jax.random.key_data(key)}
        return nnx.to_pure_dict(params), other

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        module = self._filled(h, params, other)
        _reseed(module, key)
        _set_mode(module, train)
        before = _statistics(module)
        outputs = self._outputs(module, key, batch, train)
        nnx.pop(module, nnx.Intermediate)
        _, _, _, changed, _ = _split(module)
        variables = nnx.to_pure_dict(changed)
        check_created(other.get("variables", {}), variables)
        if train:
            settled = {path[2:] for path in self.settled}
            before = {path: leaf for path, leaf in before.items() if path not in settled}
            warn_constant(before, _statistics(module))
        return outputs, {**other, "variables": variables}

    def _outputs(self, module: nnx.Module, key: Key, batch: Batch, train: bool) -> Outputs:
        rngs = nnx.Rngs(key)
        if self.user_apply is not None:
            with calling("apply", batch=batch, train=train, rngs="nnx.Rngs(key)"):
                return self.user_apply(module, batch, train=train, rngs=rngs)
        call = module.__call__
        given = rngs if _asks_for_rngs(call, module) else None
        positional, keywords = call_arguments(call, batch, train, rngs=given, apply=APPLY)
        return module(*positional, **keywords)

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        # A BatchNorm has leaves in both: they are joined leaf by leaf.
        return unflatten_dict(flatten_dict(params) | flatten_dict(other.get("variables", {})))

    def statistics(self, h: Hparams, params: PyTree, other: PyTree) -> list[Path]:
        kept = running(_statistics(self._filled(h, params, other)))
        return [("variables", *path) for path in kept]

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        given, known = flatten_dict(variables), flatten_dict(other.get("variables", {}))
        others = {path: given[path] for path in given if path in known}
        rest = {path: given[path] for path in given if path not in known}
        return unflatten_dict(rest), {"variables": unflatten_dict(others)}

    def in_variables(self, path: tuple[Any, ...]) -> tuple[Any, ...]:
        return path[1:] if path[0] == WEIGHTS else path[2:]

    def selected(self, spec: Any, h: Hparams, batch: Batch) -> frozenset[tuple[Any, ...]] | None:
        if not is_filter(spec):
            return None
        module = self._module(jax.random.key(0, impl=IMPL), h)
        found = nnx.filter_state(nnx.state(module), spec)
        return frozenset(flatten_dict(nnx.to_pure_dict(found)))

    def _module(self, key: Key, h: Hparams) -> nnx.Module:
        # Annotations of sharding are kept, but nothing is sharded: members lie whole on a device.
        sharding = nnx.using_eager_sharding() and not jax.sharding.get_abstract_mesh().empty
        with calling("model", h=h, rngs="nnx.Rngs(key)"), nnx.use_eager_sharding(sharding):
            try:
                module = self.model(h, nnx.Rngs(key))
            except TraceContextError as error:
                raise TypeError(
                    f"{FOREIGN} (Flax said: {str(error).split(' (https')[0]})"
                ) from error
        if not isinstance(module, nnx.Module):
            raise ReturnedError(
                f"model(h, rngs) returned {described(module)}, not a flax.nnx module; write "
                "lambda h, rngs: MLP(..., rngs=rngs), and for linen models use vt.flax_learner"
            )
        return module

    def _filled(self, h: Hparams, params: PyTree, other: PyTree) -> nnx.Module:
        """Returns the module with a member's weights and variables.

        It is made anew, so that traced hyperparameters kept as attributes (a dropout rate) are the
        current ones; and with its first key, so that arrays drawn by its constructor (random
        features) stay. The fresh weights are never used, and the compiler drops them.
        """
        first_key = jax.random.wrap_key_data(other["key"], impl=IMPL)
        structure, fresh, streams, variables, arrays = _split(self._module(first_key, h))
        nnx.replace_by_pure_dict(fresh, params)
        nnx.replace_by_pure_dict(variables, other.get("variables", {}))
        return nnx.merge(structure, fresh, streams, variables, arrays)


def _split(module: nnx.Module) -> Any:
    """Returns (structure, parameters, random streams, other variables, plain arrays)."""
    return nnx.split(module, nnx.Param, nnx.RngState, nnx.Variable, ...)


def _reseed(module: nnx.Module, key: Key) -> None:
    """Reseeds the random streams: the first by `key`, later ones by `key` folded with 1, 2, ..."""
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)
    stream_keys = jax.tree.leaves(nnx.state(module, nnx.RngKey), is_leaf=is_variable)
    tags = sorted({leaf.tag for leaf in stream_keys})
    nnx.reseed(
        module,
        policy="match_shape",
        **{tag: jax.random.fold_in(key, i) if i else key for i, tag in enumerate(tags)},
    )


def _set_mode(module: nnx.Module, train: bool) -> None:
    """Switches a module to training or evaluation: Flax's own layers, and attributes by name."""
    if train:
        module.train()
    else:
        module.eval()
    for _, part in nnx.iter_modules(module):
        for name, old in list(vars(part).items()):
            if name in NAMES and isinstance(old, bool):
                setattr(part, name, mode_value(name, train))


def _statistics(module: nnx.Module) -> dict[tuple, Any]:
    """Returns a module's batch statistics by their path."""
    return flatten_dict(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))


def _asks_for_rngs(call: Callable[..., Any], module: nnx.Module) -> bool:
    """Whether a module is to be given `rngs` in a call: it must be, or its layers keep none."""
    argument = inspect.signature(call).parameters.get("rngs")
    if argument is None:
        return False
    if argument.default is inspect.Parameter.empty or not jax.tree.leaves(
        nnx.state(module, nnx.RngKey)
    ):
        return True
    parts = (part for _, part in nnx.iter_modules(module))
    return any(isinstance(part, nnx.Dropout) and part.rngs is None for part in parts)
