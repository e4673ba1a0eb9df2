"""Fingerprints of what a sweep was trained on and with, so that other data and another learner are
seen where shapes are equal."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.blocks import rows_of_block
from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.host_entry import HostEntry
from vtune.data.looks import even_rows, rows_of
from vtune.engine.plan import CohortPlan, Plan
from vtune.learner.protocol import traced_once
from vtune.results.contents import array_sum, without_addresses
from vtune.results.states import batch_of
from vtune.rng.keys import is_key
from vtune.runtime.equations import equations
from vtune.types import PyTree
from vtune.xla.jaxpr import is_literal, opened, subjaxprs

MOST_COHORTS = 16  # are traced; more would make saving slow
PROBES = 64  # numbers of a scaled entry
FUNCTIONS = ("init", "step", "measure", "score", "predict")

_KNOWN: weakref.WeakKeyDictionary[Data, tuple[tuple[int, ...], dict[str, Any]]]
_KNOWN = weakref.WeakKeyDictionary()


def data_fingerprint(data: Data) -> dict[str, Any]:
    """Returns shapes, types and checksums of the arrays and of the rows, as JSON.

    The arrays are gone through once for one object. Of an entry that was scaled some numbers stand
    for the checksum, since another machine may round the scale differently; of data on the host
    some rows stand for all.
    """
    parts = (*data.arrays.values(), data.train, data.valid)
    ids = tuple(map(id, parts))
    known = _KNOWN.get(data)
    if known is not None and known[0] == ids:
        return known[1]
    arrays, samples = {}, _sample_sums(data)
    for name, array in data.arrays.items():
        entry: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if name in data.scaling:
            entry["probes"] = _probes(array)
        else:
            entry["sample"] = samples[name]
            if not data.on_host:
                entry["sha256"] = array_sum(np.asarray(array))
        arrays[name] = entry
    rows = {"train": array_sum(np.asarray(data.train)), "valid": array_sum(np.asarray(data.valid))}
    found = {"arrays": arrays, "rows": rows, "counts": _counts(data)}
    _KNOWN[data] = (ids, found)
    return found


def keep_fingerprint(data: Data) -> None:
    """Takes the fingerprint of data on the host while their source can be read, so that a sweep can
    be saved when it cannot. What cannot be read does not matter before."""
    if data.on_host:
        with contextlib.suppress(Exception):
            data_fingerprint(data)


def _counts(data: Data) -> dict[str, list[int]]:
    """How many rows train and validate, in every fold."""
    if isinstance(data, Folds):
        return {"train": list(data.train_sizes), "valid": list(data.valid_sizes)}
    return {"train": [len(data.train)], "valid": [len(data.valid)]}


def arrays_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Returns how arrays differ from those of a fingerprint; None where they do not."""
    if before.keys() != now.keys():
        return f"they have the entries {sorted(now)}, those had {sorted(before)}"
    for name, entry in before.items():
        for what in ("shape", "dtype"):
            if entry[what] != now[name][what]:
                return f"{name!r} has {what} {now[name][what]}, there it was {entry[what]}"
        if not _same_values(entry, now[name]):
            return f"{name!r} has other values"
    return None


def split_difference(saved: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Returns how the split differs from that of a fingerprint; None where it does not."""
    for part in ("train", "valid"):
        if saved["rows"][part] != found["rows"][part]:
            return "the rows are split in another way (another seed or fraction)"
    return None


def data_difference(saved: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Returns how data differ from those of a fingerprint; None where they do not."""
    arrays = arrays_difference(saved["arrays"], found["arrays"])
    return arrays or split_difference(saved, found)


def _same_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if "probes" in before and "probes" in now:
        a, b = np.array(before["probes"]), np.array(now["probes"])
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))
    same = [before[sum] == now[sum] for sum in ("sha256", "sample") if sum in before and sum in now]
    return all(same)


def _sample_sums(data: Data) -> dict[str, str]:
    """Returns a checksum of evenly spaced rows of every entry that is not scaled."""
    rows = even_rows(len(next(iter(data.arrays.values()))))
    sums = {name: hashlib.sha256() for name in data.arrays}
    size = min(rows_of_block(array.shape) for array in data.arrays.values())
    for start in range(0, len(rows), size):
        for name, values in rows_of(data, rows[start : start + size]).items():
            sums[name].update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def _probes(array: Any) -> list[float]:
    """Returns evenly spaced numbers of an entry."""
    of_row = math.prod(array.shape[1:])
    places = even_rows(len(array) * of_row, PROBES)
    rows, inverse = np.unique(places // of_row, return_inverse=True)
    taken = array.take(rows) if isinstance(array, HostEntry) else np.asarray(array)[rows]
    return taken.reshape(len(rows), -1)[inverse, places % of_row].astype(np.float64).tolist()


def learner_fingerprint(
    plan: Plan, rows: Mapping[str, Any] | None, weights: PyTree = None
) -> dict[str, str]:
    """Returns a checksum of the traced text of each of the learner's functions.

    Args:
      rows, weights: see `Trained`.
    """
    digests = {name: hashlib.sha256() for name in FUNCTIONS}
    for cohort in plan.cohorts[:MOST_COHORTS]:
        for name, closed in _traces(plan, cohort, rows, weights).items():
            digests[name].update(without_addresses(str(closed)).encode())
            for constant in _constants(closed, set()):
                digests[name].update(array_sum(constant).encode())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _constants(closed: Any, seen: set[int]) -> Iterator[np.ndarray]:
    """Yields the constants of a traced function and of those inside it, which no text shows whole.

    Args:
      seen: ids of the functions that were looked into.
    """
    if id(closed) in seen:
        return
    seen.add(id(closed))
    jaxpr, constants = opened(closed)
    literals = (a.val for e in jaxpr.eqns for a in e.invars if is_literal(a) and np.ndim(a.val))
    for constant in itertools.chain(constants, literals):
        yield np.asarray(jax.random.key_data(constant) if is_key(constant) else constant)
    for equation in jaxpr.eqns:
        for inner in subjaxprs(equation.params):
            yield from _constants(inner, seen)


def _traces(
    plan: Plan, cohort: CohortPlan, rows: Mapping[str, Any] | None, weights: PyTree
) -> dict[str, Any]:
    """The equations of one member's functions by name. Nothing is computed."""
    batch, judged = batch_of(rows, cohort.batch_size), batch_of(rows, plan.eval_batch_size)
    shared = weights if plan.learner.share is not None else None
    return equations(traced_once(plan.learner), plan, cohort, batch, judged, shared)
