"""The names by which models are told whether they are trained or evaluated."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import flax.linen as nn

# Whether the name is true in training.
NAMES = {
    **dict.fromkeys(
        (
            "train",
            "training",
            "is_training",
            "is_train",
            "train_mode",
            "training_mode",
            "enable_dropout",
            "update_stats",
        ),
        True,
    ),
    **dict.fromkeys(
        (
            "deterministic",
            "eval",
            "is_eval",
            "eval_mode",
            "evaluate",
            "evaluation",
            "inference",
            "is_inference",
            "inference_mode",
            "test",
            "is_test",
            "testing",
            "use_running_average",
        ),
        False,
    ),
}
# In an object of settings, which may hold more than a model's: `evaluate` may be another thing.
IN_SETTINGS = ("train", "training", "is_training", "deterministic")
ADVICE = (
    "vtune passes the mode to __call__ and sets it in fields of the names train, training, "
    "is_training, deterministic, inference, eval or use_running_average"
)


def mode_value(name: str, train: bool) -> bool:
    """Returns what a mode of this name is while training, or while evaluating."""
    return NAMES[name] == train


def is_mode(parameter: inspect.Parameter) -> bool:
    """Whether an argument of `__call__` takes the mode: by its name, and its default if any."""
    default = parameter.default
    plain = default is inspect.Parameter.empty or default is None or isinstance(default, bool)
    return parameter.name in NAMES and plain


def in_mode(module: nn.Module, train: bool) -> nn.Module:
    """Returns a linen module whose fields say that it is trained, or that it is evaluated.

    Fields count that hold True or False under a mode's name, in the module or in a dataclass of
    settings in one of its fields. In modules given as fields, and so on, what was made for
    training is switched off for evaluation; what was made for evaluation stays frozen.
    """
    return _module(module, train, frozen=False, known={})


def _module(module: nn.Module, train: bool, frozen: bool, known: dict[int, Any]) -> nn.Module:
    """`frozen`: what says evaluation stays. `known`: made before, as fields may share modules."""
    if id(module) not in known:
        changed = {}
        for field in dataclasses.fields(module):
            old = getattr(module, field.name, None)
            if not field.init or field.name in ("parent", "name"):
                continue
            if isinstance(old, bool):
                new: Any = _flag(field.name, old, train, frozen)
            else:
                new = _inner(old, train, frozen, known)
            if new is not old:
                changed[field.name] = new
        known[id(module)] = module.clone(**changed) if changed else module
    return known[id(module)]


def _inner(old: Any, train: bool, frozen: bool, known: dict[int, Any]) -> Any:
    """Returns a field's value in the mode; the same object where nothing changes."""
    if isinstance(old, nn.Module):
        return _module(old, train, True, known)
    if isinstance(old, list | tuple) and type(old) in (list, tuple):
        new = type(old)(_inner(part, train, frozen, known) for part in old)
        return new if any(a is not b for a, b in zip(new, old, strict=True)) else old
    if dataclasses.is_dataclass(old) and not isinstance(old, type):
        given = {field.name for field in dataclasses.fields(old) if field.init}
        found = ((name, getattr(old, name, None)) for name in IN_SETTINGS if name in given)
        flags = {name: flag for name, flag in found if isinstance(flag, bool)}
        switched = {name: _flag(name, flag, train, frozen) for name, flag in flags.items()}
        return dataclasses.replace(old, **switched) if switched != flags else old
    return old


def _flag(name: str, old: bool, train: bool, frozen: bool) -> bool:
    if name not in NAMES or (frozen and old == mode_value(name, False)):
        return old
    return mode_value(name, train)
