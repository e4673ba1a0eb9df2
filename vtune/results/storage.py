"""Arrays on the disk: arrays.npz and the weights, whatever their names and types."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.results.quiet import unlogged

Arrays = dict[str, np.ndarray]


class DamagedError(ValueError):
    """A file does not hold what was saved."""


def write_arrays(file: Path, arrays: Arrays) -> list[dict[str, Any]]:
    """Writes arrays and returns what reads them again, see `numbered`."""
    entries, stored = numbered(arrays)
    np.savez_compressed(file, **stored)  # type: ignore[arg-type]
    return entries


def numbered(arrays: Arrays) -> tuple[list[dict[str, Any]], Arrays]:
    """Returns an entry for each array, its name, type and shape, and the arrays by number.

    In a file they are numbered, since a name may hold what no file name can. Types that are not
    NumPy's own, such as bfloat16, are written as bytes.
    """
    entries, stored = [], {}
    for number, (name, array) in enumerate(arrays.items()):
        entries.append({"name": name, "dtype": str(array.dtype), "shape": list(array.shape)})
        own = array.dtype.isbuiltin == 1
        stored[_number(number)] = array if own else np.frombuffer(array.tobytes(), np.uint8)
    return entries, stored


def read_arrays(file: Path, entries: list[dict[str, Any]] | None) -> Arrays:
    """Reads arrays by name.

    Args:
      entries: as `write_arrays` returned them; None where the file has names (older formats).

    Raises:
      DamagedError: they are not as the entries say, or the file is cut.
    """
    try:
        with file.open("rb") as raw, zipfile.ZipFile(raw) as members:
            for member in members.infolist():
                _check_size(members, member)
            raw.seek(0)
            with np.load(raw) as loaded:
                stored = {name: loaded[name] for name in loaded.files}
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # what zip, zlib and NumPy raise on damage has no common class
        raise DamagedError(f"{file.name}: {type(error).__name__}: {error}") from error
    return stored if entries is None else named(file.name, entries, stored)


def named(where: str, entries: list[dict[str, Any]], stored: Arrays) -> Arrays:
    """Returns numbered arrays by name; empty ones may be missing.

    Args:
      where: they were read, for messages. entries: see `numbered`.

    Raises:
      DamagedError: they are not as the entries say.
    """
    arrays = {}
    for number, entry in enumerate(entries):
        name, shape, dtype = entry["name"], tuple(entry["shape"]), jnp.dtype(entry["dtype"])
        array = stored.get(_number(number))
        if array is None and 0 in shape:
            array = np.zeros(shape, dtype)
        if array is not None and dtype.isbuiltin != 1 and array.size == _bytes(shape, dtype):
            array = np.frombuffer(array.tobytes(), dtype).reshape(shape)
        if array is None or array.dtype != dtype or array.shape != shape:
            raise DamagedError(f"{where} has no {name!r} of {dtype}{list(shape)}")
        arrays[name] = array
    return arrays


def _check_size(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises ValueError where an array claims another size than it has, before it is allocated."""
    with members.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, _, dtype = read(file)
        size = member.file_size - file.tell()
    if dtype.hasobject or size != _bytes(shape, dtype):
        raise ValueError(f"an array of {dtype}{list(shape)} in {size} bytes")


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size


def _number(number: int) -> str:
    return f"{number:05d}"


def write_weights(folder: Path, leaves: Arrays) -> None:
    """Writes every leaf of the populations, by Orbax."""
    import orbax.checkpoint as ocp  # slow to import, only for files

    with unlogged(), ocp.StandardCheckpointer(**_alone()) as writer:
        # Numbered, since the names of the leaves hold characters that folders cannot.
        tree = {_number(number): leaf for number, leaf in enumerate(leaves.values())}
        writer.save(folder.resolve(), tree)
        writer.wait_until_finished()


def _alone() -> dict[str, Any]:
    """What makes Orbax work in this process without waiting for others."""
    options = one_process()
    return {} if options is None else {"multiprocessing_options": options}


def one_process() -> Any:
    """Returns Orbax's options for work that one of several processes does by itself; None where
    there is only one."""
    if jax.process_count() == 1:
        return None
    import orbax.checkpoint as ocp

    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})


def read_weights(folder: Path, names: list[str]) -> Arrays:
    """Reads the leaves of the populations by name.

    Raises:
      DamagedError: they are not there, or not as many.
    """
    stored = read_tree(folder)
    if len(stored) != len(names):
        raise DamagedError(f"{folder.name}: {len(stored)} arrays, not {len(names)}")
    return dict(zip(names, (stored[key] for key in sorted(stored)), strict=True))


def read_tree(folder: Path) -> Arrays:
    """Reads numbered arrays that Orbax wrote.

    Raises:
      DamagedError: they are not there, or cannot be read.
    """
    import orbax.checkpoint as ocp

    try:
        for file in folder.rglob("*"):  # a file that may not be read is not damaged
            if file.is_file():
                file.open("rb").close()
        with unlogged(), ocp.StandardCheckpointer(**_alone()) as reader:
            tree = reader.restore(folder.resolve())
        return {str(key): np.asarray(leaf) for key, leaf in tree.items()}
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # of many classes
        raise DamagedError(f"{folder.name}: {type(error).__name__}: {error}") from error


def checksum(arrays: Arrays) -> str:
    """Returns the SHA-256 of arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape};".encode(errors="surrogatepass"))
        digest.update(array.tobytes())
    return digest.hexdigest()
