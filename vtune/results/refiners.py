"""The refiner of a saved sweep and what it remembers: so the sweep goes on as it would have."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vtune.engine.plan import as_arrays
from vtune.refine.base import check_is_refiner
from vtune.refine.halving import Halving
from vtune.refine.hyperband import Hyperband
from vtune.refine.keep import Keep
from vtune.refine.mfpbt import MFPBT
from vtune.refine.nsga2 import NSGA2
from vtune.refine.pb2 import PB2
from vtune.refine.pbt import PBT
from vtune.results.described import Described, describe_value, same_description
from vtune.results.encoding import decode, encode, is_same, missing
from vtune.results.trained import Trained
from vtune.search.base import Cohort
from vtune.space.traced import program_space
from vtune.types import PyTree

_OURS: dict[str, Any] = {
    cls.__name__: cls for cls in (Keep, PBT, MFPBT, PB2, NSGA2, Halving, Hyperband)
}


def encode_refiner(refiner: Any) -> dict[str, Any] | None:
    """Returns a refiner as JSON: vtune's own by their settings, others as a description."""
    if refiner is None:
        return None
    if isinstance(refiner, Described):
        return dict(refiner.saved)
    if type(refiner) in _OURS.values():
        settings = {f.name: _plain(getattr(refiner, f.name)) for f in dataclasses.fields(refiner)}
        fields = {name: encode(value) for name, value in settings.items()}
        return {"kind": "refiner", "name": type(refiner).__name__, "fields": fields}
    return describe_value(as_arrays(refiner))


def _is_same(saved: Mapping[str, Any], refiner: Any) -> bool:
    """Whether a refiner, as arrays, is the one that was encoded."""
    if saved.get("kind") != "refiner":
        return same_description(dict(saved), refiner)
    found = encode_refiner(refiner) or {}
    if (found.get("kind"), found.get("name")) != ("refiner", saved.get("name")):
        return False
    fields = saved.get("fields") or {}
    return fields.keys() == found["fields"].keys() and all(
        is_same(value, _plain(getattr(refiner, name))) for name, value in fields.items()
    )


def _plain(value: Any) -> Any:
    """Numbers of a refiner, which are arrays in the program, as Python's."""
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.ndarray | np.generic | jax.Array) else value


def decode_refiner(saved: Any, given: Any, trusted: Sequence[str], check: bool) -> Any:
    """Returns the refiner of a saved sweep; `Described` where the file does not hold it.

    Args:
      saved: as `encode_refiner` returned it; None of older formats. given: the caller's, or None.

    Raises:
      TypeError: the one given is no refiner. ValueError: it is not the one that was saved, or no
        save wrote this.
    """
    if given is not None:
        check_is_refiner(given)
        if check and saved is not None and not _is_same(saved, as_arrays(given)):
            raise ValueError(
                f"load: refiner={given!r} is not the one that the sweep was trained with, "
                f"{saved.get('text', saved)}; leave it out, or give another to vt.extend(refiner=)"
            )
        return as_arrays(given)
    if saved is None:
        return None
    if saved.get("kind") != "refiner":
        return Described(str(saved.get("text")), _GIVE_IT, saved)
    cls, fields = _OURS.get(str(saved.get("name"))), saved.get("fields")
    if cls is None or not isinstance(fields, dict):
        raise ValueError(f"refiner={saved!r}")
    settings = {name: decode(value, f"refiner.{name}", trusted) for name, value in fields.items()}
    absent = missing(settings)
    if absent is not None:
        return Described(f"vt.{saved['name']}(... {absent} ...)", _GIVE_IT, saved)
    try:
        return as_arrays(cls(**settings))
    except (TypeError, ValueError) as error:
        raise ValueError(f"refiner: {error}") from None


def named_objectives(refiner: Any) -> tuple[tuple[str, str], ...]:
    """Returns the metrics that a refiner compares members by, if several, each with its mode."""
    if isinstance(refiner, Described):  # of constraints the file may hold a description only
        saved = refiner.saved or {}
        if saved.get("name") != NSGA2.__name__:
            return ()
        return NSGA2(decode(saved["fields"]["metrics"], "refiner.metrics")).objectives
    pairs = getattr(refiner, "objectives", ())
    return tuple(pair for pair in pairs if isinstance(pair[0], str))


_GIVE_IT = "give vt.load(path, learner, refiner=...) the one that the sweep was trained with"


def named_memories(trained: Trained) -> dict[str, np.ndarray]:
    """Returns what the refiner remembers by name, on the host."""
    arrays = {}
    for number, memory in enumerate(trained.memories or ()):
        for i, leaf in enumerate(jax.tree.leaves(memory)):
            arrays[f"memory{number}/{i}"] = np.asarray(leaf)
    return arrays


def restored_memories(
    refiner: Any, cohorts: Sequence[Cohort], arrays: Mapping[str, np.ndarray]
) -> tuple[PyTree, ...] | None:
    """Returns by cohort what the refiner remembers, with the structure that it gives its memory; of
    a `Described` one the arrays alone; None without a refiner.

    Raises:
      ValueError: the file has another memory.
    """
    if refiner is None:
        return None
    if isinstance(refiner, Described):
        leaves = lambda number: (arrays.get(f"memory{number}/{i}") for i in itertools.count())
        there = lambda leaf: leaf is not None
        return tuple(
            list(itertools.takewhile(there, leaves(number))) for number in range(len(cohorts))
        )
    return tuple(
        _restored(refiner, cohort, f"memory{number}", arrays)
        for number, cohort in enumerate(cohorts)
    )


def _restored(refiner: Any, cohort: Cohort, where: str, arrays: Mapping[str, np.ndarray]) -> PyTree:
    space = program_space(cohort.combination.traced)
    make = lambda refiner, space: refiner.init(space, len(cohort.id))
    shapes, structure = jax.tree.flatten(jax.eval_shape(make, refiner, space))
    leaves: list[Any] = []
    for i, shape in enumerate(shapes):
        value = arrays.get(f"{where}/{i}")
        if value is None or (value.shape, value.dtype) != (shape.shape, shape.dtype):
            raise ValueError(f"{where}/{i}: the refiner needs {shape.dtype}{list(shape.shape)}")
        leaves.append(value)
    return jax.tree.unflatten(structure, leaves)
