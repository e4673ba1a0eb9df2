"""What a run was made on: it may differ where the run goes on, with a warning, since it may change
the last bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from vtune.engine.plan import Plan
from vtune.results.provenance import setting

MACHINE = "machine"  # its name in a call


def machine_here(plan: Plan) -> dict[str, Any]:
    """Returns what a plan is run on here and now, as JSON."""
    return {
        "devices": plan.layout.devices or 1,
        "platform": jax.default_backend(),
        "members side by side": plan.layout.chunk,
        **versions(),
    }


def versions() -> dict[str, Any]:
    """Returns the versions that are installed."""
    return {f"version of {name}": version for name, version in setting()["versions"].items()}


def machine_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a sweep was made on, as its manifest says; empty where it does not."""
    found = (manifest["call"] or {}).get(MACHINE)
    return found if isinstance(found, dict) else {}


def other_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns how the machine, the layout and the versions differ, a line for each.

    Args:
      before: empty where nothing is known.
    """
    if not before:
        return []
    return [
        f"{name} {now[name]} here, {before.get(name)} there"
        for name in now
        if now[name] != before.get(name)
    ]
