"""Where a run goes on that was ended, or killed, after some of its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vtune.rng.keys import from_words, is_key
from vtune.types import PyTree


class CheckpointMismatchError(ValueError):
    """A folder holds the checkpoints of another call."""


@dataclass
class Point:
    """A point that a run goes on from.

    Attributes:
      done: rounds that were run.
      leaves: of the carry, on the host, keys as words. Gone once the carry is made of them.
      where: they come from, for messages.
      position: where a stream of batches stood.
    """

    done: int
    leaves: list[np.ndarray]
    where: str
    position: Any = None

    def carry(self, shapes: PyTree) -> PyTree:
        """Returns the carry for the next call.

        Raises:
          CheckpointMismatchError: the program carries something else.
        """
        paths, structure = jax.tree.flatten_with_path(shapes)
        leaves, self.leaves = self.leaves, []
        if len(leaves) != len(paths):
            raise self._mismatch(f"{len(leaves)} arrays, not {len(paths)}")
        made = [
            self._leaf(jax.tree_util.keystr(path), shape, leaf)
            for (path, shape), leaf in zip(paths, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, made)

    def _leaf(self, name: str, shape: Any, leaf: np.ndarray) -> Any:
        if is_key(shape) and leaf.dtype == np.uint32 and leaf.shape[:-1] == shape.shape:
            return from_words(leaf, shape)
        if is_key(shape) or (leaf.shape, leaf.dtype) != (shape.shape, shape.dtype):
            needs = f"{shape.dtype}{list(shape.shape)}"
            raise self._mismatch(f"{leaf.dtype}{list(leaf.shape)} as carry{name}, not {needs}")
        return leaf

    def _mismatch(self, what: str) -> CheckpointMismatchError:
        return CheckpointMismatchError(
            f"{self.where} does not fit this program: it holds {what}; go on with the versions of "
            "vtune, jax, flax and optax that wrote it, or begin anew with restart=True"
        )
