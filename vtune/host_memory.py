"""The memory that this process may still take on the host, and the most that it took.

The least of what the machine has free, what each control group of the process has left, and what
the process's own limit of address space (`ulimit -v`) leaves.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Returns how many bytes this process may still take; None where nothing says so."""
    return min((*_machine(), *_groups(), *_address_space()), default=None)


def peak_bytes() -> int | None:
    """Returns the most bytes that this process held so far."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back() -> None:
    """Hands memory that was freed back to the system, where its C library can be told to (glibc).

    Compiling leaves some 150 MB that are free, but scattered, and stay with the process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _machine() -> list[int]:
    """What is free on the machine, caches included; all that it has where this is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return [1024 * int(line.split()[1])]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    return []


def _groups() -> list[int]:
    """What each control group of this process has left, of version 1 and 2 and at every level."""
    left = []
    with contextlib.suppress(OSError):
        for line in (PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2; beside version 1 it is mounted below
                for root in (CGROUPS, CGROUPS / "unified"):
                    left += _left(root, path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                left += _left(CGROUPS / "memory", path, *names)
    return left


def _left(root: Path, path: str, limit: str, usage: str, reclaimable: str) -> list[int]:
    """What a group and those above it have left; in a container the path may be the host's.

    Args:
      limit, usage: names of files. reclaimable: what makes way when needed, in `memory.stat`.
    """
    left = []
    group = root / path.strip("/")
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):
            most = int((folder / limit).read_text())  # "max" is no number
            left.append(most - int((folder / usage).read_text()) + _stat(folder, reclaimable))
        if folder == root:
            break
    return left


def _stat(folder: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.split()[0] == name:
                return int(line.split()[1])
    return 0


def _address_space() -> list[int]:
    """What the limit of address space leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            pages = int((PROC / "self/statm").read_text().split()[0])
            return [most - pages * resource.getpagesize()]
    return []
