"""What a manifest must be like; its arrays: `array_schema.py`.

A file may be anybody's, and its checksums prove only that nothing was changed by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vtune.results.commit import is_parts_name
from vtune.validation import LARGEST, is_number, is_whole


class WrongEntry(ValueError):
    """An entry is not as a save writes it."""


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError where an entry is missing, of another type or out of range.

    Args:
      manifest: migrated to the form of today.
    """
    _check_settings(manifest)
    _want_each(manifest, "cohorts", lambda entry: isinstance(entry, dict))
    if len(set(manifest["history"])) < len(manifest["history"]):
        raise WrongEntry(f"the history has {manifest['history']}, one of them twice")
    if compared_metric(manifest) not in manifest["history"]:
        raise WrongEntry(
            f"metric={compared_metric(manifest)!r}, the history has {manifest['history']}"
        )
    folds = (manifest["trainings"] or [None])[0]
    for number, cohort in enumerate(manifest["cohorts"]):
        try:
            _check_cohort(cohort, manifest["rounds"], folds)
        except WrongEntry as error:
            raise WrongEntry(f"cohort {number}: {error}") from None
    _check_entries(manifest)


def _check_entries(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError where parts of the manifest speak of different entries of the data."""
    rows = manifest["rows"]
    sizes = {
        "eval_batch_size": manifest["eval_batch_size"],
        **{f"cohort {i}: batch_size": c["batch_size"] for i, c in enumerate(manifest["cohorts"])},
    }
    for name, size in sizes.items():
        if (size is None) != (rows is None):
            raise WrongEntry(f"{name}={size} with rows={rows}")
    data = (manifest["identity"] or {}).get("data")
    if data is not None and data["arrays"].keys() != (rows or {}).keys():
        raise WrongEntry(f"identity: data of {list(data['arrays'])}, rows of {list(rows or ())}")
    for name in ("scaling", "columns"):
        if not set(manifest[name]) <= set(rows or ()):
            raise WrongEntry(f"{name} of {list(manifest[name])}, rows of {list(rows or ())}")


def compared_metric(manifest: Mapping[str, Any]) -> str:
    """The metric that members are compared by, under its name in the history."""
    return "score" if manifest["metric"] is None else manifest["metric"]


def _check_settings(manifest: Mapping[str, Any]) -> None:
    """Everything but the cohorts."""
    _want_each(manifest, "space", lambda part: isinstance(part, dict) and part)
    _want(manifest, "rounds", _count)
    _want(manifest, "metric", lambda v: v is None or isinstance(v, str))
    _want(manifest, "mode", lambda v: v in ("max", "min"))
    _want(manifest, "eval_batch_size", lambda v: v is None or _count(v))
    _want(manifest, "seed", lambda v: is_whole(v) and 0 <= v < 2**32)
    _want(
        manifest,
        "rows",
        lambda v: v is None or (isinstance(v, dict) and v and all(map(_row, v.values()))),
    )
    _want(manifest, "trainings", lambda v: v is None or _replicates(v))
    _want(manifest, "timing", lambda v: _list_of(is_number)(v) and len(v) == 2)
    for name in ("scaling", "history", "settings", "leaves"):
        _want_each(manifest, name, lambda v: isinstance(v, str))
    _want(manifest, "generation_size", lambda v: v is None or _count(v))
    _want_each(manifest, "began_from", lambda v: is_whole(v) and v >= -1)
    for name in ("modes", "objectives"):
        _want_each(manifest, name, lambda v: _texts(v) and len(v) == 2 and v[1] in ("max", "min"))
    for name in ("init_from", "frozen"):
        _want_each(manifest, name, _path)
    _want(manifest, "left_out", lambda v: isinstance(v, dict) and _sums(v, manifest["init_from"]))
    _want(manifest, "columns", lambda v: isinstance(v, dict) and all(map(_texts, v.values())))
    _want(manifest, "identity", lambda v: v is None or _provenance(v))
    _want(manifest, "refiner", lambda v: v is None or isinstance(v, dict))
    _want(manifest, "stopping", lambda v: v is None or _stopping(v))
    _want(manifest, "call", lambda v: v is None or isinstance(v, dict))
    _want(manifest, "best", lambda v: v is None or _best(v))
    _want(manifest, "search", lambda v: v is None or (isinstance(v, str) and v.isprintable()))
    _want(manifest, "stopped", lambda v: isinstance(v, str) and v.isprintable())
    if "parts" in manifest:
        _want(manifest, "parts", is_parts_name)
        _want_each(manifest, "arrays", _array_entry)


def check_entries(header: Mapping[str, Any]) -> None:
    """Raises ValueError where a checkpoint, but for its sweep's manifest, is not as it is
    written."""
    _want(header, "rounds", lambda v: _count(v) and v <= header["sweep"]["rounds"])
    _want_each(header, "arrays", _array_entry)
    _want(header, "states", lambda v: isinstance(v, dict) and all(map(is_whole, v.values())))
    if any(name.partition("/")[0] not in _numbers(header["sweep"]) for name in header["states"]):
        raise WrongEntry(f"states={list(header['states'])}")


def _numbers(manifest: Mapping[str, Any]) -> list[str]:
    return [str(number) for number in range(len(manifest["cohorts"]))]


def _check_cohort(cohort: Mapping[str, Any], rounds: int, folds: int | None) -> None:
    pair = lambda v: isinstance(v, list) and len(v) == 2 and all(map(_count, v))
    each = lambda fits: lambda v: _list_of(fits)(v) and len(v) == folds  # one a fold
    _want(cohort, "combination", lambda v: is_whole(v) and v >= 0)
    _want(cohort, "batch_size", lambda v: v is None or _count(v))
    _want(cohort, "steps", _count)
    for name in ("steps_per_epoch", "total_steps"):
        _want(cohort, name, lambda v: v is None or _count(v))
    _want(cohort, "traced", lambda v: v is None or _texts(v))
    _want(cohort, "rungs", lambda v: _list_of(pair)(v) and v)
    _want(cohort, "by_fold", lambda v: v is None or each(pair)(v))
    done = _count if cohort["by_fold"] is None else each(_count)
    _want(cohort, "past", lambda v: _list_of(done)(v) and len(v) <= rounds and _grows(v))
    for name in ("stretched", "own_epochs"):
        _want(cohort, name, lambda v: isinstance(v, bool))
    sizes = [size for size, _ in cohort["rungs"]]
    if sum(n for _, n in cohort["rungs"]) != rounds or sizes != sorted(sizes, reverse=True):
        raise WrongEntry(f"rungs={cohort['rungs']} do not fit the {rounds} rounds")
    if cohort["steps"] < rounds:
        raise WrongEntry(f"steps={cohort['steps']} in {rounds} rounds")
    if cohort["total_steps"] is not None and cohort["total_steps"] > cohort["steps"]:
        raise WrongEntry(f"total_steps={cohort['total_steps']} of {cohort['steps']} steps")


def _want(holder: Mapping[str, Any], name: str, fits: Any) -> None:
    if name not in holder:
        raise WrongEntry(f"no {name!r}")
    if not fits(holder[name]):
        shown = repr(holder[name])
        raise WrongEntry(f"{name}={shown if len(shown) < 80 else shown[:77] + '...'}")


def _want_each(holder: Mapping[str, Any], name: str, fits: Any) -> None:
    _want(holder, name, _list_of(fits))


def _list_of(fits: Any) -> Any:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _count(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= LARGEST


def _grows(counts: Sequence[Any]) -> bool:
    return bool((np.diff(counts, axis=0) >= 0).all())


def _length(value: Any) -> bool:
    return is_whole(value) and 0 <= value <= LARGEST


def _row(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return pair and _list_of(_length)(value[0]) and _is_dtype(value[1])


def _array_entry(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    return _list_of(_length)(value.get("shape")) and _is_dtype(value.get("dtype"))


def _path(value: Any) -> bool:
    """The keys that lead to an array, some of which may be tuples."""
    key = lambda k: (
        _path(k) if isinstance(k, list) else k is None or isinstance(k, str | int | float)
    )
    return _list_of(key)(value)


def _sums(value: Mapping[str, Any], paths: Sequence[Any]) -> bool:
    """By the number of a path, a type and a checksum."""
    numbers = set(map(str, range(len(paths))))
    return set(value) <= numbers and all(_texts(v) and len(v) == 2 for v in value.values())


def _texts(value: Any) -> bool:
    return _list_of(lambda text: isinstance(text, str))(value)


def _provenance(value: Any) -> bool:
    """What is said of a sweep's making, as deep as it is read."""
    if not isinstance(value, dict) or not isinstance(value.get("x64"), bool):
        return False
    data, learner = value.get("data"), value.get("learner")
    if not isinstance(value.get("versions"), dict) or not _texts(value.get("config")):
        return False
    if learner is not None and not (isinstance(learner, dict) and learner):
        return False
    return data is None or _fingerprint(data)


def _fingerprint(value: Any) -> bool:
    arrays, rows = (value.get("arrays"), value.get("rows")) if isinstance(value, dict) else (0, 0)
    if not isinstance(arrays, dict) or not isinstance(rows, dict):
        return False
    kinds = all(isinstance(a, dict) and {"shape", "dtype"} <= a.keys() for a in arrays.values())
    probes = kinds and all(_list_of(is_number)(a.get("probes", [])) for a in arrays.values())
    return probes and {"train", "valid"} <= rows.keys() and _row_counts(value.get("counts"))


def _row_counts(value: Any) -> bool:
    if value is None:  # files of before do not say
        return True
    parts = [value.get("train"), value.get("valid")] if isinstance(value, dict) else []
    return bool(parts) and all(_list_of(_count)(part) and part for part in parts)


def _is_dtype(value: Any) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in "biufcV"
    except TypeError:
        return False


def _best(value: Any) -> bool:
    fits = isinstance(value, dict) and is_whole(value.get("member"))
    return fits and is_number(value.get("score"))


def _stopping(value: Any) -> bool:
    three = isinstance(value, list) and len(value) == 3
    if not three or value[1] not in ("best", "last") or not isinstance(value[2], bool):
        return False
    return value[0] is None or _count(value[0])


def _replicates(value: Sequence[Any]) -> bool:
    full = isinstance(value, list) and len(value) in (3, 4)  # format 3 has no common numbers
    flags = full and all(isinstance(flag, bool) for flag in value[2:])
    return full and flags and all(map(_count, value[:2]))
