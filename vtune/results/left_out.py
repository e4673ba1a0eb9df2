"""Frozen weights that a saved sweep leaves out: they are given again where it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtune.learner.freezing import frozen_of, listed
from vtune.learner.pretrained import paths, plain
from vtune.results.contents import array_sum
from vtune.results.member import Member
from vtune.results.storage import Arrays
from vtune.results.trained import Trained


def left_out(trained: Trained) -> dict[str, list[str]]:
    """Returns what is not to be written: by the number of each array of
    `init_from` its type and its checksum.

    Raises:
      ValueError: the members share nothing.
    """
    learner = trained.plan.learner
    if not frozen_of(learner):
        raise ValueError("save: frozen=False leaves out what members share, which is nothing")
    assert learner.freezing is not None
    places = {learner.freezing.net.in_variables(path) for path in frozen_of(learner)}
    numbered = enumerate(paths(trained.weights).items())
    return {
        str(i): [str(np.asarray(leaf).dtype), array_sum(np.asarray(leaf))]
        for i, (path, leaf) in numbered
        if path in places
    }


def filled(folder: Path, manifest: Mapping[str, Any], arrays: Arrays, given: Any) -> Arrays:
    """Returns the arrays with those that were left out.

    Args:
      given: the weights that the sweep was trained with; None where none were given.

    Raises:
      ValueError: they are missing, or others.
    """
    if not manifest["left_out"]:
        return arrays
    if given is None:
        raise ValueError(
            f"{folder} was saved without its frozen weights (frozen=False); give them: "
            "vt.load(path, learner, init_from=weights)"
        )
    known = paths(plain(given.variables if isinstance(given, Member) else given))
    found, missing, other = dict(arrays), [], []
    for number, (dtype, kept) in manifest["left_out"].items():
        path = tuple(manifest["init_from"][int(number)])
        leaf = known.get(path, known.get(path[1:]))  # the parameters alone will do
        if leaf is None:
            missing.append(path)
            continue
        found[f"init_from/{number}"] = np.asarray(leaf, jnp.dtype(dtype))
        if array_sum(found[f"init_from/{number}"]) != kept:
            other.append(path)
    if missing or other:
        what = f"lacks {listed(missing)}" if missing else f"has other values of {listed(other)}"
        raise ValueError(
            f"{folder}: init_from= {what}; give the weights that the sweep was trained with"
        )
    return found
