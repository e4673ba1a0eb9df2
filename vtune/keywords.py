"""Answers to arguments that a public function does not take, with what to write instead."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# what to write -> (the argument that the function must take, names that other libraries have)
_ELSEWHERE = {
    "epochs=": ("epochs", "epoch n_epochs num_epochs max_epochs nb_epoch"),
    "batch_size=": ("batch_size", "batch batchsize bs"),
    "search=vt.Halton(n), or vt.Random(n)": (
        "search",
        "n n_trials num_trials max_trials trials num_samples n_samples n_iter sampler",
    ),
    "refiner=vt.Halving(), or vt.PBT()": ("refiner", "scheduler pruner"),
    "mode=": ("mode", "direction directions maximize minimize"),
    "metric=": ("metric", "monitor objective scoring"),
    "seed=": ("seed", "random_state random_seed rng key"),
    "patience=": ("patience", "early_stopping early_stop"),
    "callbacks=[vt.log.TensorBoard(path)], or functions of your own": (
        "callbacks",
        "callback logger log loggers logging_dir",
    ),
    "progress=": ("progress", "verbose callbacks callback logger show_progress_bar"),
    "timeout=, in seconds": ("timeout", "time_limit max_time time_budget time_budget_s"),
    'checkpoint="runs/a"': (
        "checkpoint",
        "checkpoints checkpoint_dir checkpoint_path storage storage_path resume resume_from",
    ),
    "rounds=": ("keep", "steps save_interval_steps checkpoint_frequency every_n_epochs"),
    "keep=": ("keep", "max_to_keep num_to_keep save_top_k"),
    "vt.use_all_cores() first of all, before JAX starts": ("layout", "n_jobs num_workers"),
    "fraction= for the validation rows, test= for the test rows": (
        "fraction",
        "test_size valid_size val_size validation_split test_fraction",
    ),
    "k=": ("k", "n_splits n_folds folds cv"),
    "log=True": ("log", "scale distribution sampling prior"),
    "step=": ("step", "q quantum step_size"),
    "low=, high=": ("low", "min max minimum maximum start stop"),
}
_HINTS = {
    "load": "it needs the learner that was trained; vt.read(path) gives the results alone",
    "Categorical": "give all choices as one list: vt.Categorical([16, 32])",
    "Ordinal": "give all values as one list: vt.Ordinal([16, 32])",
    "tune": "write vt.tune(learner, space, data, epochs=10), all else by name as well",
}


def answering(public: F) -> F:
    """Makes a function, or a class, say what to write where its arguments have other names.

    Its signature and documentation stay as they are.
    """
    if not isinstance(public, type):
        return _checked(public, public.__name__)
    made: Any = public
    made.__init__ = _checked(made.__init__, made.__name__)
    return made


def _checked(function: Any, who: str) -> Any:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        try:
            signature.bind(*args, **keywords)
        except TypeError as error:
            unknown = [name for name in keywords if name not in signature.parameters]
            if unknown:
                raise TypeError(_unknown(who, unknown[0], list(signature.parameters))) from None
            hint = f"; {_HINTS[who]}" if who in _HINTS else ""
            raise TypeError(f"{who}: {error}{hint}") from None
        return function(*args, **keywords)

    return call


def _unknown(who: str, name: str, known: list[str]) -> str:
    """Returns what is said of an argument that a function does not take."""
    said = f"{who} takes no argument {name}="
    for write, (argument, names) in _ELSEWHERE.items():
        if argument in known and name.lower() in names.split():
            return f"{said}; write {write}"
    near = difflib.get_close_matches(name, known, 1)
    public = ", ".join(argument for argument in known if argument != "self")
    return f"{said}; did you mean {near[0]}=?" if near else f"{said}; it takes {public}"
