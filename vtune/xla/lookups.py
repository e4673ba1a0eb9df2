"""Finds where a traced function looks entries of the data up: as indices, or as classes of one_hot.

An entry is followed through what keeps its numbers (reshaping, a slice of the rows, a shift by a
constant, counting negative indices from the end). What is computed of the entries that lie out of
range is followed on to the outputs, since masks of the data may keep it out:

    where(mask, value, 0)   out of range or not, nothing is left of it
    value * mask            nothing is left of it, unless it is NaN
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.xla.dataflow import Flow
from vtune.xla.jaxpr import Equation, opened
from vtune.xla.lookup_values import (
    NONE,
    Entry,
    Lookup,
    Value,
    doubtful,
    mixed,
    nans,
    plain,
    possible,
    without_finite,
)

# Primitives that change neither the numbers nor their order within the rows.
_KEEPING = {"convert_element_type", "copy", "stop_gradient"}
_RESHAPING = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "rev"}
_SCATTERS = {"scatter", "scatter-add", "scatter-mul"}


def has_entries(batch: Any) -> bool:
    """Whether a batch has whole numbers, which may be looked up."""
    return any(_is_whole(leaf.dtype) for leaf in jax.tree.leaves(batch))


def lookups(traced: Any, state: Any, batch: Any) -> dict[Lookup, bool]:
    """Returns the lookups whose numbers outside reach the outputs, and whether they do for certain.

    Args:
      traced: the jaxpr of a function of leaves in this order: the state's, the batch's, and others.
      state, batch: arrays or shapes, `batch` by name.
    """
    ins = [Value(state=True) for _ in jax.tree.leaves(state)]
    for path, leaf in jax.tree.leaves_with_path(batch):
        name = str(getattr(path[0], "key", path[0]))
        whole = len(path) == 1 and _is_whole(leaf.dtype)
        ins.append(Value(entry=Entry(name) if whole else None, data=True))
    jaxpr, _ = opened(traced)
    ins += [Value()] * (len(jaxpr.invars) - len(ins))
    outs = _Lookups().run(traced, ins)
    certain = NONE.union(*(out.certain for out in outs))
    return {lookup: lookup in certain for lookup in certain | possible(outs)}


class _Lookups(Flow[Value]):
    constant = Value()

    def one(self, equation: Equation, ins: list[Value]) -> Sequence[Value]:
        out = _ONE.get(equation.primitive.name, _followed)(equation, ins)
        if not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact):
            out = doubtful(out, nans(out.certain))
        return [out] * len(equation.outvars)

    def joined(self, cases: Sequence[Value]) -> Value:
        return mixed(cases)

    def decided(self, value: Value, by: Value) -> Value:
        return mixed([by, value])

    def part(self, value: Value) -> Value:
        # Slices of all steps together are the whole entry.
        return plain(value)._replace(entry=value.entry and value.entry.reshaped())

    def carried(self, value: Value) -> Value:
        return plain(value)

    def literal(self, value: Any) -> Value:
        whole = np.ndim(value) == 0 and _is_whole(np.asarray(value).dtype)
        return Value(number=int(value) if whole else None)


def _followed(equation: Equation, ins: list[Value]) -> Value:
    """Returns a result that may still be an entry, the same numbers in another form."""
    name, out, first = equation.primitive.name, mixed(ins), ins[0] if ins else Value()
    if name in _KEEPING or name in _RESHAPING:
        whole = _is_whole(equation.outvars[0].aval.dtype)
        entry, number = (first.entry, first.number) if whole else (None, None)
        if name in _RESHAPING:
            entry = entry and entry.reshaped()
        counts = first.counts if name != "transpose" else None
        return out._replace(entry=entry, number=number, counts=counts, negative=first.negative)
    if name == "slice" and first.entry is not None:
        return out._replace(entry=_sliced(first.entry, equation))
    if name in ("add", "sub") and len(ins) == 2:
        return out._replace(entry=_shifted(name, *ins))
    if name == "lt" and first.entry is not None and ins[1].number == 0:
        return out._replace(negative=first.entry.reshaped())
    return out


def _sliced(entry: Entry, equation: Equation) -> Entry | None:
    params, shape = equation.params, equation.invars[0].aval.shape
    start, stop = params["start_indices"], params["limit_indices"]
    step = params["strides"] or (1,) * len(shape)
    whole = (start[0], stop[0], step[0]) == (0, shape[0], 1)
    if not (entry.whole_rows and entry.slices is None and whole):
        return None
    return entry._replace(slices=tuple(zip(start[1:], stop[1:], step[1:], strict=True)))


def _shifted(name: str, a: Value, b: Value) -> Entry | None:
    if b.entry is not None and name == "add":
        a, b = b, a
    if a.entry is None or b.number is None or a.entry.wrapped:
        return None
    by = b.number if name == "add" else -b.number
    return a.entry._replace(shift=a.entry.shift + by)


def _selected(equation: Equation, ins: list[Value]) -> Value:
    """Returns the result of `where`, which may be a mask."""
    which, cases = ins[0], ins[1:]
    out = mixed(ins)._replace(entry=_wrapped(which, cases))
    anyway = frozenset.intersection(*(case.certain for case in cases))
    unsure = out.certain - anyway
    if which.state or which.certain:  # a rule of the model's own
        return doubtful(out, unsure)
    if which.data:
        whatever = frozenset.intersection(*(case.certain | case.possible for case in cases))
        return out._replace(certain=anyway, possible=whatever - anyway, masked=True)
    return out


def _wrapped(which: Value, cases: list[Value]) -> Entry | None:
    """Returns the entry with its negative numbers counted from the end, if that is what it is."""
    if which.negative is None or len(cases) != 2:
        return None
    kept, moved = cases[0].entry, cases[1].entry
    if kept is None or moved is None or kept.reshaped() != which.negative:
        return None
    length = moved.shift - kept.shift
    same = moved._replace(shift=kept.shift) == kept
    return kept._replace(wrapped=length) if same and length > 0 else None


def _gathered(equation: Equation, ins: list[Value]) -> Value:
    """Returns the result of indexing, which may be with an entry."""
    params, (operand, indices) = equation.params, ins[:2]
    out = mixed(ins)
    if indices.data and not indices.state:  # picks, as of each sequence the last place
        out = doubtful(without_finite(out, operand), operand.certain)
    numbers, array = params["dimension_numbers"], equation.invars[0].aval
    axes = numbers.start_index_map
    entries = indices.columns or ((indices.entry,) if len(axes) == 1 else ())
    fills, fill = params["mode"] == lax.GatherScatterMode.FILL_OR_DROP, params["fill_value"]
    is_nan = fills and jnp.issubdtype(array.dtype, jnp.inexact) and _nan(fill)
    meant = fills and not _nan(fill)  # the user says what stands for numbers outside
    found = set()
    for axis, entry in zip(axes, entries, strict=False):
        if entry is not None:
            size = array.shape[axis] - params["slice_sizes"][axis] + 1
            for outside in ("end",) if meant else ("nan" if is_nan else "last", "end"):
                found.add(Lookup(entry.reshaped(), size, array.shape, outside))
    return out._replace(certain=out.certain | found)


def _nan(fill: Any) -> bool:
    return fill is None or bool(np.isnan(fill))


def _scattered(equation: Equation, ins: list[Value]) -> Value:
    """Returns the result of adding at indices; those of the data may leave rows out."""
    out, (_, indices, updates) = mixed(ins), ins[:3]
    if indices.data and not indices.state:
        out = doubtful(without_finite(out, updates), updates.certain)
    return out


def _equal(equation: Equation, ins: list[Value]) -> Value:
    """Returns the result of a comparison, which may be one_hot."""
    out = mixed(ins)
    for one, other in (ins, ins[::-1]):
        if one.entry is not None and other.counts is not None:
            found = Lookup(one.entry.reshaped(), other.counts, None, "zeros")
            out = out._replace(certain=out.certain | {found})
    return out


def _multiplied(equation: Equation, ins: list[Value]) -> Value:
    out = mixed(ins)
    for one, other in (ins, ins[::-1]):
        weighed = other.masked if equation.primitive.name == "dot_general" else not other.state
        if other.data and weighed:
            out = without_finite(out, one)
    return out


def _joined(equation: Equation, ins: list[Value]) -> Value:
    """Returns the result of `concatenate`: indices of several axes lie side by side."""
    shapes = [atom.aval.shape for atom in equation.invars]
    last = equation.params["dimension"] == len(shapes[0]) - 1
    side_by_side = last and all(shape[-1] == 1 for shape in shapes)
    columns = tuple(value.entry for value in ins) if side_by_side else None
    return mixed(ins)._replace(columns=columns)


def _counting(equation: Equation, ins: list[Value]) -> Value:
    params = equation.params
    return Value(counts=params["shape"][params["dimension"]])


_ONE = {
    "select_n": _selected,
    "gather": _gathered,
    "eq": _equal,
    "mul": _multiplied,
    "dot_general": _multiplied,
    "concatenate": _joined,
    "iota": _counting,
    **dict.fromkeys(_SCATTERS, _scattered),
}


def _is_whole(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer))
