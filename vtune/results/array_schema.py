"""What the arrays beside a manifest must be like: there, and of shapes that fit each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vtune.results.schema import WrongEntry, compared_metric

Arrays = Mapping[str, np.ndarray]


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
        raise WrongEntry(f"parents {list(parents.shape)} of {manifest['rounds']} rounds")
    for name in ("ends", "stopped", "budgets"):
        values = _array(arrays, name, (members,), "i")
        least = 1 if name == "ends" else -1
        most = rounds if name == "ends" else manifest["rounds"]
        if values.min() < least or values.max() > most:
            raise WrongEntry(f"{name} from {values.min()} to {values.max()} in {rounds} rounds")
    for name in manifest["history"]:
        inner = () if name == compared_metric(manifest) else (...,)
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
        raise WrongEntry(f"generation_size={size}, began_from={manifest['began_from']}")
    if size is not None and members != size * len(manifest["began_from"]):
        raise WrongEntry(f"{len(manifest['began_from'])} generations of {size}, {members} members")


def _check_lives(rungs: Sequence[Any], arrays: Arrays, first: int) -> None:
    """Raises ValueError where members are not as many as planned, or continue none that was there.

    Args:
      rungs: by cohort, its pairs (members, rounds). first: the smallest id.
    """
    parents = arrays["parents"]
    ids = [arrays[f"cohort{number}/id"] - first for number in range(len(rungs))]
    if sorted(np.concatenate(ids).tolist()) != list(range(parents.shape[1])):
        raise WrongEntry(f"cohort: ids that are not {first} to {first + parents.shape[1] - 1}")
    for number, own in enumerate(ids):
        sizes, rounds = np.transpose(rungs[number])
        alive = sizes[np.searchsorted(np.cumsum(rounds), np.arange(len(parents)), side="right")]
        end = arrays[f"end{number}/id"] - first
        if sorted(end.tolist()) != sorted(own.tolist()):
            raise WrongEntry(
                f"the array 'end{number}/id' has other members than 'cohort{number}/id'"
            )
        if not _continues(parents, own, alive) or (parents[-1, end[: alive[-1]]] < 0).any():
            raise WrongEntry(f"the array 'parents' does not fit cohort {number}")
    if (arrays["ends"] > np.sum(parents >= 0, axis=0)).any():
        raise WrongEntry("the array 'ends' has rounds after members were dropped")


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
        raise WrongEntry(f"no array {name!r}")
    open_end = shape[-1:] == (...,)
    wanted = shape[:-1] if open_end else shape
    fits = array.ndim >= len(wanted) if open_end else array.ndim == len(wanted)
    same = fits and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=False))
    own_kind = "f" if array.dtype.kind == "V" else array.dtype.kind  # bfloat16
    if not same or (kinds and own_kind not in kinds):
        raise WrongEntry(f"the array {name!r} is {array.dtype}{list(array.shape)}")
    return array
