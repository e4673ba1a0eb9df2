"""Entries of several dtypes, and sources that give them row by row, as PyTorch's and grain's do."""

import numpy as np

ROWS = 120


def columns(rows=ROWS, seed=0):
    """Entries of several dtypes, of which JAX holds two in others; one lies far from 0."""
    rng = np.random.default_rng(seed)
    far = rng.normal(size=(rows, 3)) * [1, 1e-3, 0] + [1e6, 5, 7]
    partly = far + 1
    partly[:30] *= rng.normal(size=(len(partly[:30]), 1))
    return {
        "x": far,
        "partly": partly,
        "image": rng.integers(0, 255, (rows, 4, 2)).astype(np.uint8),
        "y": rng.integers(0, 3, rows),
        "w": rng.random(rows).astype(np.float32),
    }


class Records:
    """Rows one by one, as a torch Dataset has them."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.asked = []

    def __len__(self):
        return len(self.arrays["y"])

    def __getitem__(self, row):
        if not isinstance(row, int):
            raise TypeError(f"row {row!r} is no int")
        self.asked.append(row)
        return {name: array[row] for name, array in self.arrays.items()}


class Batches(Records):
    """Rows one by one or several at once, by a list of them."""

    def __getitem__(self, row):
        if isinstance(row, list):
            row = np.array(row)
        elif not isinstance(row, int):
            raise TypeError
        self.asked.append(row)
        return {name: array[row] for name, array in self.arrays.items()}


class Lists(Records):
    """Rows one by one, or several as a list of them."""

    def __getitems__(self, rows):
        self.asked.append(rows)
        return [{name: array[row] for name, array in self.arrays.items()} for row in rows]


class Tensor:
    """As PyTorch's that ask for gradients: they are detached before they are read."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self):
        return self

    def cpu(self):
        return self.array


def of_tensors(kind):
    """Returns a source of this kind whose rows are tensors."""

    class Tensors(kind):
        def __getitem__(self, row):
            return {name: Tensor(value) for name, value in super().__getitem__(row).items()}

    return Tensors
