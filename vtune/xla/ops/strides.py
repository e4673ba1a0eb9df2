"""Convolutions with strides, and their gradients, as convolutions of dense images.

A gradient through a stride is a convolution of an image with zeros between its numbers, and a GPU's
program writes that image out and reads it again. Axis by axis, there are three cases:

    a window of one place, of an input with zeros between    zeros go between the outputs
    a window that meets one input in `step`                  these inputs are taken out first
    any other window over an input with zeros between        an output for each phase of the zeros,
                                                             [places, phase], is one in a row

The outputs of a phase meet the same places of the window, so that few products are taken with zeros
(Shi et al. 2016, "sub-pixel convolution"). Where a number is not finite, more of the numbers beside
it may not be finite either than without this; they are of the same row and member.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from vtune.types import Array
from vtune.xla.ops.windows import Params

_Finish = Callable[[Array], Array]
_Changed = tuple[Array, Array, Params, _Finish]


def dense(x: Array, w: Array, params: Params) -> tuple[Array, Array, Params, _Finish]:
    """Returns what to convolve instead, and what makes the outputs of it.

    Args:
      x, w: input and weights, in the layout that `params` states, without groups.
      params: of `lax.conv_general_dilated`.

    Returns:
      (x, w, params, finish): the convolution with `params` of x and w, then `finish`.
    """
    finishes: list[_Finish] = []
    for axis in range(x.ndim - 2):
        for change in (_inputs_taken_out, _zeros_behind, _phases):
            if min(*x.shape, *w.shape, _places(axis, x, w, params)) > 0:
                x, w, params, finish = change(axis, x, w, params)
                finishes.append(finish)

    def finish_all(y: Array) -> Array:
        for finish in reversed(finishes):
            y = finish(y)
        return y

    return x, w, params, finish_all


def _inputs_taken_out(axis: int, x: Array, w: Array, params: Params) -> _Changed:
    """Takes out the inputs that are met, where the window has one place or stands at one."""
    at = params["dimension_numbers"].lhs_spec[2 + axis]
    window, places = _window(axis, w, params), _places(axis, x, w, params)
    if window == 1:
        step, count = params["window_strides"][axis], places
    elif places == 1:
        step, count = params["rhs_dilation"][axis], window
    else:
        return x, w, params, _as_it_is
    low, _ = params["padding"][axis]
    if step == 1 or low != 0 or params["lhs_dilation"][axis] > 1:
        return x, w, params, _as_it_is
    reach = (count - 1) * step + 1
    if reach > x.shape[at]:
        return x, w, params, _as_it_is
    x = lax.slice_in_dim(x, 0, reach, step, at)
    own = {"padding": (0, 0), "window_strides": 1, "rhs_dilation": 1}
    return x, w, _changed(params, axis, **own), _as_it_is


def _zeros_behind(axis: int, x: Array, w: Array, params: Params) -> _Changed:
    """Puts zeros between the outputs of a window of one place, not between its inputs."""
    spread = params["lhs_dilation"][axis]
    if _window(axis, w, params) > 1 or spread == 1 or params["window_strides"][axis] > 1:
        return x, w, params, _as_it_is
    at = params["dimension_numbers"].out_spec[2 + axis]
    low, high = params["padding"][axis]

    def finish(y: Array) -> Array:
        edges = [(0, 0, 0)] * y.ndim
        edges[at] = (low, high, spread - 1)
        return lax.pad(y, jnp.zeros((), y.dtype), edges)

    own = {"padding": (0, 0), "lhs_dilation": 1, "rhs_dilation": 1}
    return x, w, _changed(params, axis, **own), finish


def _phases(axis: int, x: Array, w: Array, params: Params) -> _Changed:
    """Makes channels of the phases: output s * q + r is channel r of the place q.

    With s - 1 zeros between the inputs, output s * q + r meets input q + o by the window's place
    s * o - r + low, where there is one.
    """
    numbers = params["dimension_numbers"]
    s = params["lhs_dilation"][axis]
    if s == 1 or params["window_strides"][axis] > 1 or params["rhs_dilation"][axis] > 1:
        return x, w, params, _as_it_is
    window, places = _window(axis, w, params), _places(axis, x, w, params)
    low, _ = params["padding"][axis]
    first, last = -(low // s), (s - 1 + window - 1 - low) // s
    inputs, length = x.shape[numbers.lhs_spec[2 + axis]], -(-places // s)
    before, behind = -first, length + last - inputs
    w = _window_of_phases(w, numbers.rhs_spec, axis, s, s - 1 - low - s * first, last - first + 1)
    # As many on both sides, and cut the outputs: an image with other padding would be written out.
    padding = max(before, behind)
    start = s * (padding - before)
    at, channels = numbers.out_spec[2 + axis], numbers.out_spec[1]

    def finish(y: Array) -> Array:
        y = y.reshape(*y.shape[:channels], s, -1, *y.shape[channels + 1 :])
        y = jnp.moveaxis(y, channels, at + 1)
        y = y.reshape(*y.shape[:at], -1, *y.shape[at + 2 :])
        return lax.slice_in_dim(y, start, start + places, axis=at)

    return x, w, _changed(params, axis, padding=(padding, padding), lhs_dilation=1), finish


def _window_of_phases(
    w: Array, spec: tuple[int, ...], axis: int, s: int, before: int, taps: int
) -> Array:
    """Returns the weights of all phases, in front of the channels that come out; zeros where a
    phase has no such place. Place s * i + p of the window behind `before` zeros is place i of
    phase s - 1 - p."""
    at, channels = spec[2 + axis], spec[0]
    edges = [(0, 0, 0)] * w.ndim
    edges[at] = (before, s * taps - before - w.shape[at], 0)
    w = lax.pad(w, jnp.zeros((), w.dtype), edges)
    w = w.reshape(*w.shape[:at], taps, s, *w.shape[at + 1 :])
    w = jnp.moveaxis(jnp.flip(w, at + 1), at + 1, channels)
    return w.reshape(*w.shape[:channels], -1, *w.shape[channels + 2 :])


def _window(axis: int, w: Array, params: Params) -> int:
    return w.shape[params["dimension_numbers"].rhs_spec[2 + axis]]


def _as_it_is(y: Array) -> Array:
    return y


def _places(axis: int, x: Array, w: Array, params: Params) -> int:
    """Returns how often the window fits along an axis."""
    size = x.shape[params["dimension_numbers"].lhs_spec[2 + axis]]
    size = (size - 1) * params["lhs_dilation"][axis] + 1
    reach = (_window(axis, w, params) - 1) * params["rhs_dilation"][axis] + 1
    return (size + sum(params["padding"][axis]) - reach) // params["window_strides"][axis] + 1


def _changed(params: Params, axis: int, **own: object) -> Params:
    """Returns the parameters with other ones for an axis."""
    put = lambda values, value: (*values[:axis], value, *values[axis + 1 :])
    return params | {name: put(params[name], value) for name, value in own.items()}
