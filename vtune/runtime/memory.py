"""Memory: what a program needs, what there is, and how wide the population may be."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from vtune.types import PyTree

LOG = logging.getLogger("vtune")
PROBES = 2  # programs that may be compiled only to see what they need


class Need(NamedTuple):
    """Bytes that a program takes, by the compiler's own account.

    Attributes:
      resident: arguments and results: the population, its history, the data.
      scratch: what lives while it runs: activations, gradients, copies that refinement makes.
    """

    resident: int
    scratch: int

    @property
    def total(self) -> int:
        return self.resident + self.scratch


Compiled = TypeVar("Compiled")


@dataclass(frozen=True)
class Fitted:
    """A program that fits.

    Attributes:
      compiled: it. width: members side by side on a device. need: bytes. limit: bytes, if known.
    """

    compiled: Any
    width: int
    need: Need
    limit: int | None


def fit(
    compile: Callable[[int], Compiled],
    needs: Callable[[Compiled], Need],
    width: int,
    limit: int | None,
    fixed: bool,
) -> Fitted:
    """Compiles the widest program whose predicted need is within the limit.

    Args:
      compile: from the members side by side on a device. needs: what a compiled program takes.
      width: the most there can be. limit: bytes, None where there is none.
      fixed: the width is not to be changed.

    Raises:
      MemoryError: none fits, as far as `PROBES` programs can tell.
    """
    tried: dict[int, Need] = {}
    while True:
        compiled = compile(width)
        tried[width] = needs(compiled)
        if limit is None or tried[width].total <= limit:
            return Fitted(compiled, width, tried[width], limit)
        if fixed or width == 1 or len(tried) > PROBES or tried[width].resident > limit:
            raise MemoryError(_too_much(tried[width], width, limit, fixed))
        del compiled  # two programs at a time would be one too many
        width = narrower(tried, limit)


def narrower(tried: dict[int, Need], limit: int) -> int:
    """A width predicted to fit, from the widths above 1 that did not, in the order of their trial.

    After one trial scratch is taken to grow with the width from nothing, with room for what does
    not; after more, along the line through the last two. Chunks come out even; the least is 1.
    """
    (width, need), widest = list(tried.items())[-1], max(tried)
    if len(tried) == 1:
        start, slope, filled = 0.0, need.scratch / width, 0.85
    else:
        before, wider = list(tried.items())[-2]
        slope, filled = (wider.scratch - need.scratch) / (before - width), 0.97
        start = need.scratch - slope * width
    free = filled * limit - need.resident - start
    most = math.floor(free / slope) if slope > 0 else 1
    most = max(1, min(most, width - 1))
    return math.ceil(widest / math.ceil(widest / most))


def check_population(carry: PyTree, members: int, limit: int | None, devices: int) -> None:
    """Raises MemoryError where the population and its history alone are too much.

    Args:
      carry: as shapes.
    """
    whole = size(carry)
    own = whole if jax.default_backend() == "cpu" else -(-whole // devices)
    if limit is not None and own > limit:
        raise MemoryError(
            f"the weights, optimizer states and history of {members} members take {shown(own)}"
            f"{'' if own == whole else ' on each device'}; the limit is {shown(limit)}. Take "
            f"fewer members, at most about {max(1, members * limit // (own * 10 // 9))}, a smaller "
            "model, or set the limit with vt.Layout(memory=bytes)"
        )


def needed(compiled: Any, devices: int) -> Need:
    """What a compiled program takes: on a CPU on all its devices together, elsewhere on each."""
    stats = compiled.memory_analysis()
    times = devices if jax.default_backend() == "cpu" else 1
    kept = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return Need(times * kept, times * stats.temp_size_in_bytes)


def there(arguments: PyTree) -> int | None:
    """Bytes that a program may take where nobody sets a limit, its arguments that are there
    already included; None where that is not known."""
    if jax.default_backend() == "cpu":
        return _machine()
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0) + size(arguments)


def used() -> int | None:
    """The most bytes held so far, on the fullest device; on a CPU by the whole process."""
    if jax.default_backend() == "cpu":
        return _process_peak()
    peaks = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return max((peak for peak in peaks if peak is not None), default=None)


def say_predicted(need: int, limit: int | None, width: int, devices: int, fused: int = 1) -> None:
    """Logs what a program is predicted to take, before it runs."""
    LOG.info(
        "vtune: memory predicted: %s%s, limit %s; %s on each of %d devices",
        shown(need),
        "" if jax.default_backend() == "cpu" else " a device",
        "unknown" if limit is None else shown(limit),
        f"{width} members side by side" if fused == 1 else f"up to {fused} members fused",
        devices,
    )


def say_used() -> None:
    """Logs what was taken, after a program ran."""
    peak = used()
    if peak is not None:
        what = {"cpu": "by the whole process"}.get(jax.default_backend(), "on the fullest device")
        LOG.info("vtune: memory used: %s at most so far, %s", shown(peak), what)


def size(tree: PyTree) -> int:
    """Bytes of all arrays in a tree; shapes will do."""
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def shown(count: int) -> str:
    """Bytes for people: "1.2 GiB"."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"


def _machine() -> int | None:
    """Bytes of memory of this machine, or of the container that the process lives in."""
    known = []
    if hasattr(os, "sysconf"):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    allowed = Path("/sys/fs/cgroup/memory.max")
    if allowed.is_file() and (text := allowed.read_text().strip()).isdecimal():
        known.append(int(text))
    return min(known, default=None)


def _process_peak() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _too_much(need: Need, width: int, limit: int, fixed: bool) -> str:
    at = "one member at a time" if width == 1 else f"{width} members side by side"
    ways = ["fewer members", "a smaller batch_size= or eval_batch_size="]
    if fixed and width > 1:
        ways.insert(0, f'a smaller chunk than {width}, or vt.Layout(chunk="fit")')
    return (
        f"this sweep needs {shown(need.total)} with {at} on a device: {shown(need.resident)} for "
        f"the population, its history and the data, {shown(need.scratch)} while it trains; the "
        f"limit is {shown(limit)}. Take {', '.join(ways)}, or set the limit with "
        "vt.Layout(memory=bytes)"
    )
