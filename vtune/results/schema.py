"""What a manifest and its arrays must be like.

A file may be anybody's, and its checksums prove only that nothing was changed by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vtune.results.commit import is_parts_name
from vtune.validation import LARGEST, is_number, is_whole

Arrays = Mapping[str, np.ndarray]


class _Wrong(ValueError):
    """An entry is not as a save writes it."""


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError where an entry is missing, of another type or out of range.

    Args:
      manifest: migrated to the form of today.
    """
    _check_settings(manifest)
    _want_each(manifest, "cohorts", lambda entry: isinstance(entry, dict))
    if len(set(manifest["history"])) < len(manifest["history"]):
        raise _Wrong(f"the history has {manifest['history']}, one of them twice")
    if _metric(manifest) not in manifest["history"]:
        raise _Wrong(f"metric={_metric(manifest)!r}, the history has {manifest['history']}")
    folds = (manifest["trainings"] or [None])[0]
    for number, cohort in enumerate(manifest["cohorts"]):
        try:
            _check_cohort(cohort, manifest["rounds"], folds)
        except _Wrong as error:
            raise _Wrong(f"cohort {number}: {error}") from None
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
            raise _Wrong(f"{name}={size} with rows={rows}")
    data = (manifest["identity"] or {}).get("data")
    if data is not None and data["arrays"].keys() != (rows or {}).keys():
        raise _Wrong(f"identity: data of {list(data['arrays'])}, rows of {list(rows or ())}")
    for name in ("scaling", "columns"):
        if not set(manifest[name]) <= set(rows or ()):
            raise _Wrong(f"{name} of {list(manifest[name])}, rows of {list(rows or ())}")


def _metric(manifest: Mapping[str, Any]) -> str:
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
        raise _Wrong(f"states={list(header['states'])}")


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
        raise _Wrong(f"rungs={cohort['rungs']} do not fit the {rounds} rounds")
    if cohort["steps"] < rounds:
        raise _Wrong(f"steps={cohort['steps']} in {rounds} rounds")
    if cohort["total_steps"] is not None and cohort["total_steps"] > cohort["steps"]:
        raise _Wrong(f"total_steps={cohort['total_steps']} of {cohort['steps']} steps")


def check_arrays(manifest: Mapping[str, Any], arrays: Arrays) -> None:
    """Raises ValueError where arrays are missing, or their shapes do not fit each other.

    Args:
      manifest: checked.
    """
    sizes = [cohort["rungs"][0][0] for cohort in manifest["cohorts"]]
    members = sum(sizes)
    parents = _array(arrays, "parents", (None, members), "i")
    rounds = len(parents)
    if not 1 <= rounds <= manifest["rounds"] or parents.min() < -1 or parents.max() >= members:
        raise _Wrong(f"parents {list(parents.shape)} of {manifest['rounds']} rounds")
    for name in ("ends", "stopped", "budgets"):
        values = _array(arrays, name, (members,), "i")
        least = 1 if name == "ends" else -1
        most = rounds if name == "ends" else manifest["rounds"]
        if values.min() < least or values.max() > most:
            raise _Wrong(f"{name} from {values.min()} to {values.max()} in {rounds} rounds")
    for name in manifest["history"]:
        inner = () if name == _metric(manifest) else (...,)
        _array(arrays, f"history/{name}", (rounds, members, *inner), "f")
    for name in manifest["settings"]:
        _array(arrays, f"settings/{name}", (rounds, members, ...), "if")
    folds = manifest["trainings"][:1] if manifest["trainings"] and manifest["trainings"][2] else ()
    for name in manifest["scaling"]:
        for part in ("shift", "factor"):
            row = manifest["rows"][name][0]
            _array(arrays, f"scaling/{name}/{part}", (*folds, *row), "f")
    for number in range(len(manifest["init_from"])):
        if str(number) in manifest["left_out"]:
            continue
        _array(arrays, f"init_from/{number}", (...,), "")
    for number, (cohort, size) in enumerate(zip(manifest["cohorts"], sizes, strict=True)):
        for place in (f"cohort{number}", f"end{number}"):
            _array(arrays, f"{place}/id", (size,), "i")
            for name in cohort["traced"] or ():
                _array(arrays, f"{place}/hparams/{name}", (size,), "if")
        _array(arrays, f"end{number}/score", (size,), "f")
        _array(arrays, f"end{number}/died", (size,), "i")
    _check_generations(manifest, arrays)
    _check_lives(
        [cohort["rungs"] for cohort in manifest["cohorts"]], arrays, first_id(manifest, arrays)
    )


def first_id(manifest: Mapping[str, Any], arrays: Arrays) -> int:
    """Returns the smallest id: not 0 in a generation by itself.

    Args:
      manifest, arrays: checked.
    """
    if manifest["generation_size"] is None:
        return 0
    return min(int(arrays[f"cohort{i}/id"].min()) for i in range(len(manifest["cohorts"])))


def _check_generations(manifest: Mapping[str, Any], arrays: Arrays) -> None:
    """Raises ValueError where generations do not fit the members."""
    size, members = manifest["generation_size"], arrays["parents"].shape[1]
    if (size is None) != (not manifest["began_from"]):
        raise _Wrong(f"generation_size={size}, began_from={manifest['began_from']}")
    if size is not None and members != size * len(manifest["began_from"]):
        raise _Wrong(f"{len(manifest['began_from'])} generations of {size}, {members} members")


def _check_lives(rungs: Sequence[Any], arrays: Arrays, first: int) -> None:
    """Raises ValueError where members are not as many as planned, or continue none that was there.

    Args:
      rungs: by cohort, its pairs (members, rounds). first: the smallest id.
    """
    parents = arrays["parents"]
    ids = [arrays[f"cohort{number}/id"] - first for number in range(len(rungs))]
    if sorted(np.concatenate(ids).tolist()) != list(range(parents.shape[1])):
        raise _Wrong(f"cohort: ids that are not {first} to {first + parents.shape[1] - 1}")
    for number, own in enumerate(ids):
        sizes, rounds = np.transpose(rungs[number])
        alive = sizes[np.searchsorted(np.cumsum(rounds), np.arange(len(parents)), side="right")]
        end = arrays[f"end{number}/id"] - first
        if sorted(end.tolist()) != sorted(own.tolist()):
            raise _Wrong(f"the array 'end{number}/id' has other members than 'cohort{number}/id'")
        if not _continues(parents, own, alive) or (parents[-1, end[: alive[-1]]] < 0).any():
            raise _Wrong(f"the array 'parents' does not fit cohort {number}")
    if (arrays["ends"] > np.sum(parents >= 0, axis=0)).any():
        raise _Wrong("the array 'ends' has rounds after members were dropped")


def _continues(parents: np.ndarray, ids: np.ndarray, alive: np.ndarray) -> bool:
    """Whether the members of a cohort continue members of it that were alive the round before.

    Args:
      alive: [rounds] how many.
    """
    own = parents[:, ids] >= 0
    if (own.sum(axis=1) != alive).any():
        return False
    before = np.zeros(parents.shape, bool)
    before[0, ids] = True
    before[1:, ids] = own[:-1]
    rounds, members = np.nonzero(own)
    return bool(before[rounds, parents[rounds, ids[members]]].all())


def _array(arrays: Arrays, name: str, shape: tuple[Any, ...], kinds: str) -> np.ndarray:
    """The array of this name; None in `shape` is any length, `...` at its end any axes."""
    array = arrays.get(name)
    if array is None:
        raise _Wrong(f"no array {name!r}")
    open_end = shape[-1:] == (...,)
    wanted = shape[:-1] if open_end else shape
    fits = array.ndim >= len(wanted) if open_end else array.ndim == len(wanted)
    same = fits and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=False))
    own_kind = "f" if array.dtype.kind == "V" else array.dtype.kind  # bfloat16
    if not same or (kinds and own_kind not in kinds):
        raise _Wrong(f"the array {name!r} is {array.dtype}{list(array.shape)}")
    return array


def _want(holder: Mapping[str, Any], name: str, fits: Any) -> None:
    if name not in holder:
        raise _Wrong(f"no {name!r}")
    if not fits(holder[name]):
        shown = repr(holder[name])
        raise _Wrong(f"{name}={shown if len(shown) < 80 else shown[:77] + '...'}")


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
