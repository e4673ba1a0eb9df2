"""Which variables of a network `vt.tune(frozen=)` means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from vtune.hparams import Hparams
from vtune.learner.frozen import Path, shown, variable_paths
from vtune.learner.lookahead import slow
from vtune.learner.net import Net, NetState
from vtune.learner.pretrained import paths as leaves_by_path
from vtune.learner.pretrained import plain
from vtune.types import Batch

ALL_BUT = "all but"
FORMS = (
    'a regular expression such as "encoder", ("all but", ["head"]), a function of the path such as '
    'lambda path: path[0] == "encoder", or a tree of booleans; for nnx also a filter'
)
SHOWN = 12  # paths in a message


@dataclass(frozen=True, eq=False)  # by identity, as a learner is: models may have no hash
class Freezing:
    """How a learner shares what is not trained.

    Attributes:
      net: its network, whose variables `frozen.py` names.
      learner: (paths) -> the learner whose members share these.
      usual: what is frozen if the user gives nothing; None where nothing is.
      frozen: the paths that the learner's members share already.
      remade: (net, usual) -> a learner of another network with its optimizer, loss and metrics.
    """

    net: Net
    learner: Callable[[frozenset[Path]], Any]
    usual: Any = None
    frozen: frozenset[Path] = frozenset()
    remade: Callable[[Net, Any], Any] | None = None


def frozen_of(learner: Any) -> frozenset[Path]:
    """Returns the paths of what a learner's members share."""
    return frozenset() if learner.freezing is None else learner.freezing.frozen


def chosen_paths(net: Net, spec: Any, h: Hparams, state: NetState, batch: Batch) -> frozenset[Path]:
    """Returns the paths of a network's variables that `frozen=spec` means.

    Raises:
      TypeError, ValueError: it has none of the known forms, or names what is not there.
    """
    known = [path for path in variable_paths(slow(state.params), state.other) if shown(path)]
    selected = net.selected(spec, h, batch)
    if selected is not None:
        return frozenset(path for path in known if net.in_variables(path) in selected)
    is_frozen = _choice(spec, [shown(path) for path in known])
    return frozenset(path for path in known if is_frozen(shown(path)))


def is_filter(spec: Any) -> bool:
    """Whether this is one of nnx's filters, such as `nnx.Not(nnx.LoRAParam)`."""
    if isinstance(spec, type):
        return issubclass(spec, nnx.Variable)
    return type(spec).__module__ == nnx.filterlib.__name__


def text_of(path: Path) -> str:
    """Returns a path as it is matched and shown: its names, joined by slashes."""
    return "/".join(map(str, path))


def listed(paths: Iterable[Path]) -> str:
    """Returns paths for a message, the first few."""
    texts = sorted(map(text_of, paths))
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _choice(spec: Any, known: list[Path]) -> Callable[[Path], bool]:
    """Returns whether a path is frozen."""
    if isinstance(spec, str):
        return _matching([spec], known)
    if isinstance(spec, tuple | list) and spec and all(isinstance(name, str) for name in spec[:1]):
        if spec[0] == ALL_BUT and len(spec) == 2:
            names = [spec[1]] if isinstance(spec[1], str) else spec[1]
            if isinstance(names, tuple | list) and all(isinstance(name, str) for name in names):
                trained = _matching(list(names), known)
                return lambda path: not trained(path)
        elif all(isinstance(name, str) for name in spec) and spec[0] != ALL_BUT:
            return _matching(list(spec), known)
    elif isinstance(plain(spec), Mapping):
        return _marked(leaves_by_path(plain(spec)), known)
    elif is_filter(spec):
        raise TypeError(f"frozen={spec!r} is a filter of nnx, and the model is none; write {FORMS}")
    elif callable(spec) and not isinstance(spec, type):
        return lambda path: decided("frozen", spec, path, "what is shared and never trained")
    raise TypeError(f"frozen={spec!r} is not known; write {FORMS}")


def _matching(patterns: list[str], known: list[Path]) -> Callable[[Path], bool]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise ValueError(
                f"frozen: {pattern!r} is no regular expression ({error}); it is searched in paths "
                f"such as {text_of(known[0])!r}"
            ) from None
        if not any(compiled[-1].search(text_of(path)) for path in known):
            raise ValueError(f"frozen: {pattern!r} matches nothing; there are {listed(known)}")
    return lambda path: any(pattern.search(text_of(path)) for pattern in compiled)


def _marked(marks: Mapping[Path, Any], known: list[Path]) -> Callable[[Path], bool]:
    """Of a tree of booleans: a mark counts for all below it; what has none is trained."""
    for path, mark in marks.items():
        if not isinstance(mark, bool | np.bool_):
            raise TypeError(f"frozen: {text_of(path)} is {mark!r}; write True or False")
        if not any(one[: len(path)] == path for one in known):
            raise ValueError(
                f"frozen: the model has no {text_of(path)!r}; there are {listed(known)}"
            )
    return lambda path: any(bool(marks.get(path[:n])) for n in range(1, len(path) + 1))


def decided(
    argument: str,
    choice: Callable[[Path], Any],
    path: Path,
    meaning: str,
    error: type[Exception] = TypeError,
) -> bool:
    """Returns what a user's function of a path says.

    Args:
      argument: that it was given as. meaning: what True stands for.
      error: what is raised where it says something else than True or False.
    """
    try:
        answer = choice(path)
    except Exception as failure:
        failure.add_note(f"{argument} was called with the path {path!r}")
        raise
    if not isinstance(answer, bool | np.bool_):
        raise error(
            f"{argument} returned {answer!r} for the path {path!r}; return True for {meaning}, "
            "else False"
        )
    return bool(answer)
