"""Reads IDX files, the format of MNIST and its relatives, gzipped or not."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Reads one IDX file and returns its array.

    The format is big-endian: two zero bytes, type, number of axes, sizes, values.

    Args:
      path: the file; gzip is recognised by its content, not its name.

    Returns:
      The array, of the shape and (native-endian) type that the file states.

    Raises:
      FileNotFoundError: there is no such file.
      TypeError: this is no name of a file. ValueError: it is not an IDX file, or is cut short.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"read_idx: path must be the name of a file, got {path!r}")
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error}); fetch it again") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise ValueError(f"{path}: not an IDX file (it starts with {raw[:4].hex() or 'nothing'})")
    dtype, axes = np.dtype(_TYPES[raw[2]]), raw[3]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise ValueError(f"{path}: cut short inside its header")
    shape = struct.unpack(f">{axes}i", raw[4:start])
    if min(shape, default=0) < 0:
        raise ValueError(f"{path}: damaged, its header says that the shape is {shape}")
    want = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(raw) - start != want:
        raise ValueError(f"{path}: shape {shape} needs {want} bytes, {len(raw) - start} are there")
    values = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
