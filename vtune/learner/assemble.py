"""Assembles a learner from a network, an optimizer, a loss and metrics."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vtune.caches import bounded_cache
from vtune.callers import users_line
from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.check_optimizer import check_sees_all, check_updates, made, updating
from vtune.learner.contracts import check_collections
from vtune.learner.forward import Forward, check_metrics, judged
from vtune.learner.freezing import Freezing
from vtune.learner.frozen import FrozenNet, Path, Variables, held_in, parted, without
from vtune.learner.lookahead import fast, first_pair, slow
from vtune.learner.net import Net, NetState
from vtune.learner.objective import augmented, check_summable, mean_loss, row_weights, scores
from vtune.learner.optimizer_arguments import extra_arguments
from vtune.learner.parts import Parts, checked
from vtune.learner.per_example import check_aggregated, gradients_by_row, takes_rows
from vtune.learner.pretrained import overlay
from vtune.learner.protocol import Learner
from vtune.learner.statistics import mean_with, of_batch, warn_none
from vtune.learner.trace_cache import cache_trace
from vtune.metrics.modes import usual_mode
from vtune.returned import ReturnedError, check_arrays, check_structure, described
from vtune.rng.keys import IMPL
from vtune.types import Array, Batch, Key, Metrics, Outputs, PyTree, Totals, Weight
from vtune.xla.ops.rewrite import rewrite, rewrite_once, rewrite_update


def assemble(net: Net, parts: Parts) -> Learner:
    """Returns the learner of a network and the user's parts.

    Raises:
      TypeError, ValueError: a part is of the wrong kind.
    """
    return NetLearner(net, checked(parts)).learner()


@dataclass(frozen=True, eq=False)  # compiled programs are found by the identity of its methods
class NetLearner:
    """The functions of a `Learner` whose member is a network trained by an Optax optimizer.

    Attributes:
      net: the network. parts: checked, its metrics as dicts.
      frozen: the variables that members share, see `frozen.py`.
      usual: what they share if the user says nothing, see `Freezing`.
    """

    net: Net
    parts: Parts
    frozen: frozenset[Path] = frozenset()
    usual: Any = None

    def learner(self) -> Learner:
        """Returns the methods as the `Learner` that users hold."""
        metrics = {**self.parts.train_metrics, **self.parts.metrics}
        modes = {
            name: getattr(metric, "mode", None) or usual_mode(name)
            for name, metric in metrics.items()
        }
        return Learner(
            init=self.init,
            step=self.step,
            measure=self.measure,
            score=self.score,
            predict=self.predict,
            variables=self.variables,
            check=self.check,
            modes=(("loss", "min"), *modes.items()),
            summarise=self.summarise if self.parts.train_metrics else None,
            load=self.load,
            judge=self.judge,
            whole_batches=self.parts.batch_loss is not None,
            refresh=self.refresh if self.parts.recompute_statistics else None,
            refresh_batches=self.parts.recompute_statistics or 0,
            weights=self.weights,
            freezing=Freezing(self.net, self._freeze, self.usual, self.frozen, self._remade),
            share=self.share if self.frozen else None,
        )

    def _freeze(self, paths: frozenset[Path]) -> Learner:
        """Returns the learner that shares these variables, the same one for the same paths."""
        return _with_frozen(self, paths)

    def _remade(self, net: Net, usual: Any) -> Learner:
        """Returns the learner of another network, whose members usually share `usual`."""
        return NetLearner(net, self.parts, usual=usual).learner()

    def share(self, state: NetState, weights: PyTree) -> NetState:
        held = None if weights is None else held_in(self.net, weights, self.frozen)
        return state._replace(frozen=held)

    def _forward(self, state: NetState) -> Forward:
        """Returns the network whose variables are those of a member alone, to be called."""
        held = state.frozen
        net = self.net if held is None else FrozenNet(self.net, self.frozen, held)
        return Forward(net, self.parts)

    # a member's state -----------------------------------------------------------------------------

    def init(self, key: Key, h: Hparams, batch: Batch) -> NetState:
        if batch is None:
            raise ValueError(
                "this learner trains on data; write vt.tune(learner, space, data, ...) with "
                'data = vt.holdout({"x": X, "y": y})'
            )
        draw = rewrite_once(lambda key, batch: self.net.init(key, h, batch), self.parts.rewrite)
        with calling("the model", batch=batch, h=h):
            params, other = draw(key, batch)
        (params, other), held = parted(params, other, self.frozen)
        if not jax.tree.leaves(params):
            warnings.warn(_NOTHING_TRAINED, stacklevel=users_line())
        optimizer = made(self.parts.optimizer, h)
        with calling("the optimizer's init", h=h, params=params):
            params, opt_state = self._first_pair(optimizer, params, held)
        check_arrays("the optimizer's init", (opt_state,), "its state")
        state = NetState(params, other, opt_state)
        # What a step returns in a wider type than it took would change the carried types:
        # under x64 Flax makes BatchNorm statistics float32 and returns float64.
        whole = state._replace(frozen=held if self.frozen else None)
        after, _ = jax.eval_shape(lambda s: self.step(key, h, s, batch), whole)
        after = after._replace(frozen=None)
        check_collections(state.other, after.other)
        check_structure("the optimizer's update", state.opt_state, after.opt_state)
        state = jax.tree.map(lambda leaf, wide: jnp.asarray(leaf, wide.dtype), state, after)
        if self.parts.recompute_statistics:
            warn_none(self._forward(whole).net.statistics(h, slow(params), other))
        return self._with_judged(state)

    def _first_pair(self, optimizer: Any, params: PyTree, held: Variables) -> tuple[PyTree, PyTree]:
        try:
            return first_pair(optimizer, params)
        except Exception as error:
            if self.frozen:
                check_sees_all(optimizer, params, held.params, error)
            raise

    def load(self, h: Hparams, state: NetState, variables: PyTree) -> NetState:
        own = slow(state.params)
        variables = without(self.net, variables, self.frozen)
        given_params, given_other = self.net.split(variables, own, state.other)
        # Some optimizers keep a copy of the weights, so their state is made anew.
        optimizer = made(self.parts.optimizer, h)
        params, opt_state = first_pair(optimizer, overlay(own, given_params))
        other = overlay(state.other, given_other)
        opt_state = _cast_like(opt_state, state.opt_state)
        return self._with_judged(NetState(params, other, opt_state))

    def _with_judged(self, state: NetState) -> NetState:
        return state._replace(judged=state.other) if self.parts.recompute_statistics else state

    def variables(self, state: NetState) -> PyTree:
        return self._forward(state).net.variables(self._eval_params(state), state.scored)

    def _eval_params(self, state: NetState) -> PyTree:
        """Returns the weights that are scored and shown."""
        if self.parts.eval_params is None:
            return slow(state.params)
        with calling("eval_params", opt_state=state.opt_state, params=state.params):
            params = self.parts.eval_params(state.opt_state, state.params)
        shapes = lambda tree: jax.tree.map(jnp.shape, tree)
        check_arrays("eval_params", params, "weights like params")
        if shapes(params) != shapes(slow(state.params)):
            raise ReturnedError(
                f"eval_params returned {described(params)}, whose structure and shapes are not "
                "those of params; return one array for every array of weights"
            )
        return _cast_like(params, slow(state.params))

    # training -------------------------------------------------------------------------------------

    @functools.cached_property
    def step(self) -> Callable[..., tuple[NetState, Metrics]]:
        """One training step, traced once: `init` asks for the types of its results, too."""
        return cache_trace(self._step)

    def _step(
        self, key: Key, h: Hparams, state: NetState, batch: Batch
    ) -> tuple[NetState, Metrics]:
        weight = jnp.ones(jax.tree.leaves(batch)[0].shape[0])
        batch = augmented(self.parts, key, h, batch)
        forward = self._forward(state)
        objective = rewrite(
            lambda params: forward.objective(key, h, params, state.other, batch, weight),
            self.parts.rewrite,
        )
        other = state.other
        by_row = takes_rows(state.opt_state)
        if by_row:
            alone = functools.partial(forward.objective_of_row, key, h, other)
            value, totals, grads = gradients_by_row(alone, fast(state.params), batch)
        else:
            (value, (other, totals)), grads = jax.value_and_grad(objective, has_aux=True)(
                fast(state.params)
            )
        check_summable(totals)
        update = made(self.parts.optimizer, h).update
        with jax.named_scope("optimizer"):  # so that a profile, and `vt.cost`, can tell
            updates, opt_state = rewrite_update(updating(update, h), self.parts.rewrite)(
                grads,
                state.opt_state,
                state.params,
                **extra_arguments(update, objective, value, grads, state.opt_state),
            )
            if by_row:
                check_aggregated(updates, state.params)
            check_updates(updates, state.params)
            params = optax.apply_updates(state.params, updates)
        after = NetState(params, other, opt_state, state.judged, state.frozen)
        return after, {"loss": value, **totals}

    def summarise(self, sums: PyTree, steps: Array) -> Metrics:
        loss = sums["loss"] / steps.astype(sums["loss"].dtype)
        return {"loss": loss} | scores("train_metrics", self.parts.train_metrics, sums)

    # scoring --------------------------------------------------------------------------------------

    def refresh(
        self, key: Key, h: Hparams, state: NetState, batch: Batch, number: Array
    ) -> NetState:
        """Returns the state with the batch's statistics under the scored weights."""
        batch, params = augmented(self.parts, key, h, batch), self._eval_params(state)
        forward = self._forward(state)
        apply = rewrite_once(
            lambda params, other, batch: forward.apply(key, h, params, other, batch, True)[1],
            self.parts.rewrite,
        )
        paths = forward.net.statistics(h, params, state.other)
        if not paths:
            return state
        fresh = of_batch(lambda other: apply(params, other, batch), state.other, paths)
        return state._replace(judged=mean_with(state.judged, fresh, number))

    def predict(self, h: Hparams, state: NetState, batch: Batch) -> Outputs:
        key = jax.random.key(0, impl=IMPL)  # for models that sample when they predict
        params, forward = self._eval_params(state), self._forward(state)
        return forward.apply(key, h, params, state.scored, batch, False)[0]

    def judge(self, h: Hparams, outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        return judged(self.parts, h, outputs, batch, weight)

    def measure(
        self, key: Key, h: Hparams, state: NetState, batch: Batch, weight: Weight
    ) -> Totals:
        def totals(params: PyTree, other: PyTree, batch: Batch, weight: Weight) -> Totals:
            outputs, _ = forward.apply(key, h, params, other, batch, False)
            return self.judge(h, outputs, batch, weight)

        params, forward = self._eval_params(state), self._forward(state)
        return rewrite_once(totals, self.parts.rewrite)(params, state.scored, batch, weight)

    def score(self, totals: Totals) -> Metrics:
        total, count = totals["loss"]
        # Of a batch loss there may be no whole batch, which is no loss of 0.
        loss = total / count if self.parts.loss is None else mean_loss(total, count)
        return {"loss": loss} | scores("metrics", self.parts.metrics, totals)

    def weights(self, h: Hparams, outputs: Outputs, batch: Batch, train: bool) -> dict[str, Array]:
        return row_weights(self.parts, h, outputs, batch, train)

    def check(self, outputs: Any, arrays: Mapping[str, Any]) -> None:
        check_metrics(self.parts, outputs, arrays)


@bounded_cache(32)
def _with_frozen(learner: NetLearner, paths: frozenset[Path]) -> Learner:
    net: Any = learner.net
    settled = replace(net, settled=paths)
    return NetLearner(settled, learner.parts, paths, learner.usual).learner()


_NOTHING_TRAINED = (
    "the model has no parameters, so nothing is trained; give it layers, self.param(...) or "
    "nnx.Param(...), or leave this warning where it is a baseline"
)


def _cast_like(tree: PyTree, like: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, old: jnp.asarray(leaf, old.dtype), tree, like)
