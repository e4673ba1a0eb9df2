"""`flax_learner` makes a learner of a `flax.linen` module."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
from flax import nnx
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict

from vtune.hparams import Hparams
from vtune.keywords import answering
from vtune.learner.adapted import Adapted, taken_apart
from vtune.learner.assemble import assemble
from vtune.learner.calling import calling
from vtune.learner.captured import captured
from vtune.learner.contracts import call_arguments
from vtune.learner.first_apply import initialising
from vtune.learner.frozen import WEIGHTS
from vtune.learner.mode import in_mode
from vtune.learner.parts import Parts
from vtune.learner.protocol import Learner
from vtune.learner.rows_as_image import check_images
from vtune.learner.statistics import Path, running
from vtune.learner.streams import Asked, Streams, asked
from vtune.learner.unswitched import flags, warn_argument, warn_constant
from vtune.metrics import Metric
from vtune.returned import ReturnedError, described
from vtune.types import Batch, Key, Outputs, PyTree
from vtune.validation import check_call


@answering
def flax_learner(
    model: nn.Module | Callable[[Hparams], nn.Module] | Adapted,
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
    sown: Sequence[str] = (),
    rewrite: str = "auto",
) -> Learner:
    """Makes a learner of a linen module, an Optax optimizer and a loss.

    Args:
      model: the module, or a function of the hyperparameters that makes it. Entries of the data
        go to its `__call__` by argument name (`x` when none matches). The mode is passed to
        `__call__` as `train`, `training`, `is_training`, `deterministic`, `inference`, `eval` or
        `use_running_average`, and set in fields of these names that hold True or False, in the
        module or in a dataclass in one of its fields. In modules given as fields, what was made
        for training is switched off for evaluation, and what was made for evaluation stays
        frozen; dicts and partials are left alone. Other collections than `params`, such as
        BatchNorm statistics, are carried per member; a warning says which batch statistics change
        in no training step. A batch is not cut up, so an axis as in
        `nn.BatchNorm(axis_name="batch")` has length 1.
      optimizer: a function of the hyperparameters that returns an Optax transformation. For
        schedules, `h` also holds the whole numbers `h["total_steps"]` (traced where epochs differ
        between members, or folds in size) and `h["steps_per_epoch"]`. `vt.schedules` take traced
        numbers; make a schedule that compares its arguments in Python
        (warmup_cosine_decay_schedule) with peak 1 and multiply:
        `lambda step: h["lr"] * schedule(step)`.
      loss: (outputs, batch, h) -> values [batch, ...], or (values, weights). Training minimises
        the weighted mean.
      metrics: metrics by name, recorded on the validation rows in addition to `loss`.
      train_metrics: metrics by name, recorded as `train/<name>` over all training batches of a
        round, augmented as the model saw them.
      penalty: (params, h) -> a scalar added to the training loss, such as `vt.penalties.l2`.
      batch_loss: (outputs, batch, h) -> scalar, instead of `loss`, for a loss that is not per
        example. The model's outputs may then be anything, such as its own loss, or begin with
        another axis than the rows. On the validation rows it is averaged over batches of as many
        rows as a training batch, or `eval_batch_size=`; the last is filled up with rows of the
        first, and counts by the rows that are its own.
      augment: (key, batch, h) -> batch, called in every training step of every member; see
        `vt.augment`. Its key is the step key folded with 0.
      eval_params: (opt_state, params) -> the weights that are scored, shown and used to predict,
        if these are not the trained ones: `vt.averaged` of `vt.weight_average`,
        `optax.contrib.schedule_free_eval_params`.
      recompute_statistics: before members are scored, BatchNorm's means and variances are made
        anew for the weights of `eval_params`: their mean over so many training batches, at most
        one epoch's, as in PyTorch's `update_bn`. The batches are the first of the epoch that comes
        next, augmented. Averaged weights are else judged with the statistics of the trained ones.
      apply: (model, variables, batch, *, train, rngs, mutable) -> what `model.apply` returns, for
        modules that `__call__` does not suit. It is called once with empty variables and
        `mutable=True`: there, `model.apply` does what `model.init_with_output` does.
      sown: collections that the model sows into, such as ["losses"]. The outputs that `loss`,
        metrics and `predict` see are then (outputs, {"losses": ...}).
      rewrite: how convolutions and poolings are computed, see `vt.rewrite`.

    Returns:
      A `Learner`. In a step, `rngs` holds the step key under "params" and under the name of every
      stream that the model asks for, lifted transforms included, so the dropout of a plain loop
      with `rngs={"dropout": key}` has the same bits. Where one module draws from two streams, the
      second, in alphabetical order, gets the key folded with 1.

    Raises:
      TypeError, ValueError: an argument is of the wrong kind, at once; a function returns
        something wrong, when `vt.tune` starts.
    """
    model, adapt = taken_apart(model)
    kind = model if isinstance(model, type) else type(model)
    if issubclass(kind, nnx.Module):
        raise TypeError(
            f"{kind.__name__} is an nnx module; use vt.nnx_learner(lambda h, rngs: "
            f"{kind.__name__}(..., rngs=rngs), ...)"
        )
    if isinstance(model, type) or not (isinstance(model, nn.Module) or callable(model)):
        raise TypeError(
            "model must be a flax.linen module or a function of h that returns one, got "
            f"{model!r}; write MLP() or lambda h: MLP(width=h['width'])"
        )
    if not isinstance(model, nn.Module):
        check_call("model", model, "h")
    if apply is not None:
        check_call("apply", apply, "model, variables, batch", "train, rngs, mutable")
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
    return adapt(assemble(LinenNet(model, apply, _names(sown)), parts))


def _names(sown: Any) -> tuple[str, ...]:
    if isinstance(sown, str) or not all(isinstance(name, str) for name in sown):
        raise TypeError(f'sown={sown!r} must be names of collections; write sown=["losses"]')
    return tuple(sown)


_DROPOUT_AT_MOST = (Asked({}, ()), Asked({"dropout": 0}, ()))


@dataclass(frozen=True)
class LinenNet:
    """A linen module as a `Net`; its other variables are the collections besides `params`, by name.

    Attributes:
      model: the module, or a function of the hyperparameters that makes it.
      user_apply: what calls the module in the user's own way, or None.
      sown: collections that are part of the outputs.
      settled: paths of variables that are not to change, see `frozen.py`.
      asked: what the module asks for by name, by mode, the form of hyperparameters and batch, and
        what the module reads from outside.
    """

    model: nn.Module | Callable[[Hparams], nn.Module]
    user_apply: Callable[..., Any] | None
    sown: tuple[str, ...] = ()
    settled: frozenset[tuple[Any, ...]] = frozenset()
    asked: dict[Any, Asked] = field(default_factory=dict, compare=False, repr=False)

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        module = self._module(h)
        make = lambda rngs: check_images(lambda rows: self._made(module, rngs, rows), batch)
        try:
            made = make(Streams({"params": key}, key))
        except (InvalidRngError, NameError):  # a stream that is not handed on, or an axis
            found = asked(make, key, "params")
            made = found.bound(lambda: make(found.rngs(key)))()
        dropped = {"intermediates", *self.sown}
        variables = {name: tree for name, tree in made.items() if name not in dropped}
        return variables.pop("params", {}), variables

    def _made(self, module: nn.Module, rngs: dict[str, Key], batch: Batch) -> PyTree:
        """Returns a module's first variables."""
        if self.user_apply is not None:
            first = initialising(module)
            return self._user_applied(first, {}, batch, False, rngs, True)[1]
        positional, keywords = call_arguments(module.__call__, batch, False)
        return module.init(rngs, *positional, **keywords)

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        module = in_mode(self._module(h), train)
        variables = self.variables(params, other)
        mutable = [*(other if train else ()), *self.sown] or False
        call = lambda rngs, **more: self._applied(
            module, variables, rngs, batch, train, mutable, **more
        )
        made = self._called(call, key, h, module, batch, train)
        outputs, changed = made if mutable else (made, {})
        if mutable and "batch_stats" in changed:
            before, after = (
                flatten_dict({"batch_stats": tree["batch_stats"]}) for tree in (other, changed)
            )
            settled = {path[1:] for path in self.settled}
            warn_constant({p: leaf for p, leaf in before.items() if p not in settled}, after)
        if self.sown:
            outputs = outputs, {name: changed.get(name, {}) for name in self.sown}
            changed = {name: tree for name, tree in changed.items() if name not in self.sown}
        return outputs, {**other, **changed}

    def _called(
        self,
        call: Callable[..., Any],
        key: Key,
        h: Hparams,
        module: nn.Module,
        batch: Batch,
        train: bool,
    ) -> Any:
        """Returns `call(rngs)` with the key under the names of streams that the module asks for.

        They are looked for once. Where a training step asks for dropout at most, they are not
        looked for in an evaluation, unless it fails.
        """
        reads = captured(self.model, self.user_apply)
        form = (getattr(h, "form", tuple(h)), tuple(batch), reads)  # `h` may be a plain dict
        dropout = ("dropout",) if train else ()  # some models ask has_rng("dropout") for the mode
        if (form, train) not in self.asked:
            known = self.asked.get((form, True)) if self.user_apply is None else None
            if not train and known in _DROPOUT_AT_MOST:
                with contextlib.suppress(InvalidRngError, NameError):
                    return call({})
            found = self.asked[form, train] = asked(call, key, *dropout)
            if train and not found.streams and self.user_apply is None:
                for name, default in flags(type(module).__call__, batch).items():
                    flipped = lambda rngs, more={name: not default}: call(rngs, **more)
                    if asked(flipped, key).streams:
                        warn_argument(name, default)
        found = self.asked[form, train]
        rngs = {**dict.fromkeys(dropout, key), **found.rngs(key)}
        return found.bound(lambda: call(rngs))()

    def _applied(
        self,
        module: nn.Module,
        variables: PyTree,
        rngs: dict[str, Key],
        batch: Batch,
        train: bool,
        mutable: list[str] | bool,
        **more: bool,
    ) -> Any:
        """Returns what the module's `apply` returns, or the user's function in its place."""
        if self.user_apply is not None:
            return self._user_applied(module, variables, batch, train, rngs, mutable)
        positional, keywords = call_arguments(module.__call__, batch, train)
        keywords |= more
        return module.apply(variables, *positional, rngs=rngs, mutable=mutable, **keywords)

    def _user_applied(
        self,
        module: nn.Module,
        variables: PyTree,
        batch: Batch,
        train: bool,
        rngs: dict[str, Key],
        mutable: list[str] | bool,
    ) -> Any:
        """Returns what the user's `apply` returns: a pair where variables may change."""
        assert self.user_apply is not None
        given = {"train": train, "rngs": rngs, "mutable": mutable}
        with calling("apply", variables=variables, batch=batch, **given):
            made = self.user_apply(module, variables, batch, **given)
        pair = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping)
        if mutable and not pair:
            raise ReturnedError(
                "apply must return (outputs, variables) where mutable is not False, as "
                f"model.apply does; got {described(made)}: hand on mutable=mutable"
            )
        return made

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        return {"params": params, **other}

    def statistics(self, h: Hparams, params: PyTree, other: PyTree) -> list[Path]:
        return running(flatten_dict({"batch_stats": other.get("batch_stats", {})}))

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        if "params" not in variables and not set(variables) <= set(other):
            return variables, {}  # the parameters alone
        others = {name: tree for name, tree in variables.items() if name != "params"}
        return variables.get("params", {}), others

    def in_variables(self, path: tuple[Any, ...]) -> tuple[Any, ...]:
        return path if path[0] == WEIGHTS else path[1:]

    def selected(self, spec: Any, h: Hparams, batch: Batch) -> None:
        return None

    def _module(self, h: Hparams) -> nn.Module:
        if isinstance(self.model, nn.Module):
            return self.model
        with calling("model", h=h):
            module = self.model(h)
        if not isinstance(module, nn.Module):
            raise ReturnedError(
                f"model(h) returned {described(module)}, not a flax.linen module; write "
                "lambda h: MLP(...), and for nnx models use vt.nnx_learner"
            )
        return module
