"""Memory: the bytes that a program needs, the bytes available, and the width that fits.

The width is the number of members that train side by side on a device.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax

from vtune import free_memory, host_memory, target
from vtune.runtime.notices import log
from vtune.types import PyTree

PROBES = 2  # programs that may be compiled only to see how much they need


class Need(NamedTuple):
    """Bytes that a program takes, as the compiler reports them.

    Attributes:
      resident: of arguments and results: the population, its history, the data.
      scratch: of what exists while it runs: activations, gradients, copies made by refinement.
    """

    resident: int
    scratch: int

    @property
    def total(self) -> int:
        return self.resident + self.scratch


class Refused(NamedTuple):
    """What stands for a program that the compiler refused, since it takes too much memory."""

    need: Need


def refused(error: Exception, resident: int, limit: int | None) -> Refused:
    """Returns what a refused program would take: a TPU's compiler makes none that does not fit.

    Args:
      resident: bytes of arguments and results.

    Raises:
      Exception: the error itself, where it is another one, or no limit is known.
    """
    if "RESOURCE_EXHAUSTED" not in str(error) or limit is None:
        raise error
    said = re.findall(r"(\d+(?:\.\d+)?)([KMGT])(?:i?B)?\b", str(error))
    sizes = [float(number) * 1024 ** ("KMGT".index(unit) + 1) for number, unit in said]
    # What is said may be of the temporaries alone, or of all; either way it is more than the limit.
    return Refused(Need(resident, max(round(max(sizes, default=0)), limit - resident + 1)))


Compiled = TypeVar("Compiled")


@dataclass(frozen=True)
class Fitted:
    """A program that fits.

    Attributes:
      compiled: the program. width: members side by side on a device. need: what it takes.
    """

    compiled: Any
    width: int
    need: Need


def fit(
    compile: Callable[[int], Compiled],
    needs: Callable[[Compiled], Need],
    width: int,
    limit: int | None,
    fixed: bool,
) -> Fitted:
    """Compiles programs until the predicted need of one is within the limit, narrower each time.

    Args:
      compile: width -> compiled program. needs: compiled program -> what it takes.
      width: the first to try. limit: bytes, None for no limit.
      fixed: whether the width must not be changed.

    Raises:
      MemoryError: none fits, as far as `PROBES` programs can tell.
    """
    tried: dict[int, Need] = {}
    while True:
        compiled = compile(width)
        tried[width] = needs(compiled)
        if isinstance(compiled, Refused) and limit is not None and width > 1 and not fixed:
            # It took little time, and what was said of it is no measure for the next one.
            width, tried = narrower({width: tried[width]}, limit), {}
            continue
        if limit is None or tried[width].total <= limit:
            return Fitted(compiled, width, tried[width])
        if fixed or width == 1 or len(tried) > PROBES or tried[width].resident > limit:
            raise MemoryError(_exceeds_limit(tried[width], width, limit, fixed))
        del compiled  # so that two programs never take memory at once
        width = narrower(tried, limit)


def narrower(tried: dict[int, Need], limit: int) -> int:
    """Returns a width that is predicted to fit, at least 1; its chunks come out even.

    After one trial, scratch is assumed to be proportional to the width, with a margin of 15 %.
    After more, it is assumed to lie on the line through the last two trials, with one of 3 %.

    Args:
      tried: the needs of widths above 1 that did not fit, in the order of their trial.
    """
    (width, need), widest = list(tried.items())[-1], max(tried)
    if len(tried) == 1:
        intercept, slope, usable = 0.0, need.scratch / width, 0.85
    else:
        wider, wider_need = list(tried.items())[-2]
        slope, usable = (wider_need.scratch - need.scratch) / (wider - width), 0.97
        intercept = need.scratch - slope * width
    free = usable * limit - need.resident - intercept
    most = math.floor(free / slope) if slope > 0 else 1
    most = max(1, min(most, width - 1))
    return math.ceil(widest / math.ceil(widest / most))


def check_population(carry: PyTree, members: int, limit: int | None, devices: int) -> None:
    """Raises MemoryError where the population and its history alone exceed the limit.

    Args:
      carry: as shapes.
    """
    total = tree_bytes(carry)
    # The devices of a CPU share its memory; elsewhere each has its own.
    needed = total if target.platform() == "cpu" else -(-total // devices)
    if limit is not None and needed > limit:
        none = members * limit < needed
        most = max(1, members * limit // (needed * 10 // 9))
        ways = "fewer rounds" if none else f"fewer members, at most about {most}"
        raise MemoryError(
            f"the weights, optimizer states and history of {members} members take "
            f"{format_bytes(needed)}{'' if needed == total else ' on each device'}; the limit is "
            f"{format_bytes(limit)}{', into which not even one fits' if none else ''}. Take "
            f"{ways}, a smaller model, or set the limit with vt.Layout(memory=bytes)"
        )


def predicted_need(compiled: Any, devices: int, shared: int, own: int) -> Need:
    """Returns what a compiled program takes: on a CPU all devices together, elsewhere each.

    Args:
      shared: bytes of its arguments that the devices of a CPU hold together, see `placement`.
      own: bytes of the carry, which they share out.
    """
    stats = compiled.memory_analysis()
    resident = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    if target.platform() != "cpu":
        return Need(resident, stats.temp_size_in_bytes)
    # Arguments that the program does not read are not among its own.
    by_device = max(resident - shared, own // devices)
    return Need(min(resident, shared) + devices * by_device, devices * stats.temp_size_in_bytes)


def available_bytes(arguments: PyTree) -> int | None:
    """Returns the default memory limit: what is free plus what the arguments already occupy; None
    if unknown."""
    if target.is_elsewhere():
        return target.memory_elsewhere()
    free = free_memory.free_bytes()
    return None if free is None else max(0, free) + tree_bytes(arguments)


def peak_bytes() -> int | None:
    """Returns the most bytes held so far, on the fullest device; on a CPU by the whole process."""
    if target.platform() == "cpu":
        return host_memory.peak_bytes()
    peaks = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return max((peak for peak in peaks if peak is not None), default=None)


def log_predicted(need: int, limit: int | None, width: int, devices: int, fused: int = 1) -> None:
    """Logs the bytes that a program is predicted to take, before it runs."""
    log(
        logging.INFO,
        "vtune: memory predicted: %s%s, limit %s; %s on each of %d devices",
        format_bytes(need),
        "" if target.platform() == "cpu" else " a device",
        "unknown" if limit is None else format_bytes(limit),
        f"{width} members side by side" if fused == 1 else f"up to {fused} members fused",
        devices,
    )


def log_peak() -> None:
    """Logs the most bytes held so far, after a program ran."""
    peak = peak_bytes()
    if peak is not None:
        cpu = target.platform() == "cpu"
        holder = "by the whole process" if cpu else "on the fullest device"
        used = format_bytes(peak)
        log(logging.INFO, "vtune: memory used: %s at most so far, %s", used, holder)


def tree_bytes(tree: PyTree) -> int:
    """Returns the bytes of all arrays in a tree; shapes will do."""
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def format_bytes(count: int) -> str:
    """Returns a number of bytes in a readable unit: "1.2 GiB"."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"


def _exceeds_limit(need: Need, width: int, limit: int, fixed: bool) -> str:
    at = "one member at a time" if width == 1 else f"{width} members side by side"
    alone = width == 1 and need.scratch > limit  # what one member takes while it trains
    ways = [
        "a smaller model" if alone else "fewer members",
        "a smaller batch_size= or eval_batch_size=",
    ]
    if fixed and width > 1:
        ways.insert(0, f'a smaller chunk than {width}, or vt.Layout(chunk="fit")')
    return (
        f"this sweep needs {format_bytes(need.total)} with {at} on a device: "
        f"{format_bytes(need.resident)} for the population, its history and the data, "
        f"{format_bytes(need.scratch)} while it trains; the limit is {format_bytes(limit)}. "
        f"Take {', '.join(ways)}, or set the limit with vt.Layout(memory=bytes)"
    )
