"""Python values as part of a program's identity: copied when they come in, compared by content.

A compiled program is found again by the values that it was made for. Were these the user's own
objects, a later change in place would change the key together with the value, and the next call
would get the program of the old value.

Values that nobody can change stay as they are: numbers, strings, enumerations, classes, modules.
So do functions, which are compared by identity: what a function reads from outside belongs to it.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import types
from typing import Any

import flax.linen as nn
import jax
import numpy as np

_CONSTANTS = (bool, int, float, complex, str, bytes, np.generic, np.dtype, type, enum.Enum)
_NAMES = (types.ModuleType, re.Pattern, range, frozenset, jax.Device)
_LAYOUTS = (jax.sharding.Mesh, jax.sharding.Sharding)


def snapshot(what: str, value: Any) -> Any:
    """Returns a copy of a value that later changes in place do not reach.

    Containers, dataclasses and objects are copied with all that they hold; arrays come back
    read-only.

    Args:
      what: the value as the message names it, such as "space['cfg']".

    Raises:
      TypeError: the value can be changed in place and cannot be copied, such as an open file.
    """
    try:
        return _Copier(what, arrays=True).copy(value)
    except _NoCopyError as error:
        raise TypeError(str(error)) from None


def handed_out(value: Any) -> Any:
    """Returns a snapshot for somebody who may change it: a copy, but for its read-only arrays."""
    return _Copier("value", arrays=False).copy(value)


class _NoCopyError(TypeError):
    """A value that can be changed in place cannot be copied."""


class _Copier:
    """Copies one value; what occurs in it twice, or holds itself, does so in the copy."""

    def __init__(self, what: str, arrays: bool):
        self._what = what
        self._arrays = arrays
        self._memo: dict[int, Any] = {}
        self._seen: list[Any] = []  # kept alive, so that no other value gets an id of the memo

    def copy(self, value: Any) -> Any:
        if _is_constant(value):
            return value
        if id(value) not in self._memo:
            self._seen.append(value)
            self._memo[id(value)] = self._copied(value)
        return self._memo[id(value)]

    def _copied(self, value: Any) -> Any:
        if isinstance(value, jax.Array):
            return self._on_device(value) if self._arrays else value
        if type(value) is np.ndarray:
            return self._array(value)
        if type(value) in (dict, list):
            return self._container(value)
        if isinstance(value, types.MappingProxyType):  # a view of a dict that can be changed
            return types.MappingProxyType({k: self.copy(v) for k, v in value.items()})
        if isinstance(value, tuple):
            return self._tuple(value)
        if type(value) is set:
            return set(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        try:
            return self._rebuilt(value)
        except Exception as error:
            if _is_hashed_by_value(value):  # by Python's rules it then never changes
                return value
            if isinstance(error, _NoCopyError):
                raise
            raise _NoCopyError(
                f"{self._what}: a {type(value).__name__} cannot be copied ({error}), and a program "
                "is found again by a copy of its values; give a name or numbers, and make the "
                "object from them in the model, the optimizer or the loss"
            ) from None

    def _on_device(self, value: jax.Array) -> jax.Array:
        """Copies an array, since one made of a NumPy array may lie in that array's memory."""
        if isinstance(value, jax.core.Tracer):
            raise _NoCopyError(
                f"{self._what}: holds an array that JAX traces (in jax.jit, vmap, grad); write a "
                "number, or call vtune outside of the function"
            )
        if not value.is_fully_addressable:
            return value
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended) or value.weak_type:
            return value  # made by JAX itself, which changes nothing in place
        return jax.device_put(np.array(value), value.sharding)

    def _array(self, value: np.ndarray) -> np.ndarray:
        if not self._arrays and not value.flags.writeable:
            return value
        new = value.copy()
        if new.dtype.hasobject:
            for index in np.ndindex(new.shape):
                new[index] = self.copy(new[index])
        new.flags.writeable = False
        return new

    def _container(self, value: Any) -> Any:
        new: Any = type(value)()
        self._memo[id(value)] = new
        if isinstance(value, dict):
            new.update({key: self.copy(item) for key, item in value.items()})
        else:
            new.extend(map(self.copy, value))
        return new

    def _tuple(self, value: tuple) -> tuple:
        items = [self.copy(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)

    def _module(self, value: nn.Module) -> nn.Module:
        copies = {name: self.copy(getattr(value, name)) for name in fields_of(value)}
        changed = {name: new for name, new in copies.items() if new is not getattr(value, name)}
        return value.clone(**changed) if changed else value

    def _rebuilt(self, value: Any) -> Any:
        """Copies an object by the protocol that `copy` and `pickle` use."""
        contents = contents_of(value)
        if contents is None:
            return value  # the name of a constant, or a marker, which is compared by identity
        make, args, state, items, pairs = contents
        new = make(*map(self.copy, args))
        self._memo[id(value)] = new
        if state is not None:
            _set_state(new, self.copy(state))
        for item in items:
            new.append(self.copy(item))
        for key, item in pairs:
            new[key] = self.copy(item)
        return new


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same types and contents, so that 1, 1.0 and True differ.

    NaN equals NaN, 0.0 and -0.0 differ, and objects are compared by what they hold.
    """
    return _same(a, b, set())


def _same(a: Any, b: Any, open: set[tuple[int, int]]) -> bool:
    """As `same`; `open` are the pairs under comparison, since objects may hold themselves."""
    if a is b or (id(a), id(b)) in open:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, float | np.floating):
        if a != a or b != b:
            return bool(a != a and b != b)
        return bool(a == b) and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, complex | np.complexfloating):
        return _same(a.real, b.real, open) and _same(a.imag, b.imag, open)
    if isinstance(a, set | frozenset):
        its = {item: item for item in b}  # those of b, which may be of other types
        return bool(a == b) and all(_same(item, its[item], open) for item in a)
    if _is_constant(a):
        return bool(a == b)
    if isinstance(a, np.ma.MaskedArray):
        parts = lambda array: (array.data, np.ma.getmaskarray(array), array.fill_value)
        return _same(parts(a), parts(b), open)
    if isinstance(a, np.ndarray | jax.Array):
        return _same_array(a, b, open)
    open = open | {(id(a), id(b))}
    if isinstance(a, dict | types.MappingProxyType):
        return _same(list(a), list(b), open) and all(_same(a[k], b[k], open) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y, open) for x, y in zip(a, b, strict=True))
    if isinstance(a, nn.Module):
        return all(_same(getattr(a, n), getattr(b, n), open) for n in fields_of(a))
    try:
        contents = contents_of(a)
        if contents is not None:
            return _same(contents, contents_of(b), open)
    except Exception:  # it cannot be taken apart; then its own rule counts
        pass
    try:
        return bool(a == b)
    except Exception:
        return False


def _same_array(a: Any, b: Any, open: set[tuple[int, int]]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if isinstance(a, jax.Array):
        if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
            return False
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        if a.weak_type != b.weak_type:
            return False
        a, b = np.asarray(a), np.asarray(b)
    if a.dtype.hasobject:
        return _same(a.tolist(), b.tolist(), open)
    return a.tobytes() == b.tobytes()


def contents_of(value: Any) -> tuple[Any, ...] | None:
    """What an object holds, by the protocol that `copy` and `pickle` use; None for a marker."""
    parts = value.__reduce_ex__(4)
    if isinstance(parts, str):
        return None
    make, args, state, items, pairs = (*parts, None, None, None)[:5]
    items, pairs = list(items or ()), list(pairs or ())
    stateless = state is None or (isinstance(state, dict) and not state)
    bare = len(args) == 1 and args[0] is type(value)
    if stateless and bare and not items and not pairs:
        return None
    return make, args, state, items, pairs


def _is_constant(value: Any) -> bool:
    """Whether a value cannot be changed in place, or is a function."""
    if value is None or isinstance(value, (*_CONSTANTS, *_NAMES, *_LAYOUTS)):
        return True
    return callable(value) and hasattr(value, "__name__")


def _is_hashed_by_value(value: Any) -> bool:
    if type(value).__hash__ in (None, object.__hash__) or dataclasses.is_dataclass(value):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True


def fields_of(module: nn.Module) -> list[str]:
    return [f.name for f in dataclasses.fields(module) if f.init and f.name != "parent"]


def _set_state(new: Any, state: Any) -> None:
    if hasattr(new, "__setstate__"):
        new.__setstate__(state)
        return
    state, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if state:
        vars(new).update(state)
    for name, item in (slots or {}).items():
        object.__setattr__(new, name, item)
