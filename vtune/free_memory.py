"""The memory that is free on the devices of this process."""

from __future__ import annotations

import jax

from vtune import host_memory, target


def free_bytes() -> int | None:
    """Returns how many bytes are free on a device, on a CPU on the host; None if unknown."""
    if target.platform() == "cpu":
        return host_memory.free_bytes()
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
