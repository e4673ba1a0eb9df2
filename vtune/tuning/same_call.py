"""Compares what several processes were called with, before anything is compiled."""

from __future__ import annotations

from typing import Any

from vtune.engine.carry import EarlierRun
from vtune.runtime import processes
from vtune.tuning.checkpoints.call import call_of, differences
from vtune.tuning.checkpoints.machine import MACHINE
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.prepare import Prepared

PLACE = "where the data lie"
WAYS = {
    "seed": "give the same seed=",
    "data": "load the same files in the same order, and split them with the same seed=",
    "version": "install the same versions everywhere",
    PLACE: 'write on="host" or on="device" where the data are made',
    "checkpoint": "give the same folder, one that all processes reach",
}


def check_same_call(
    prepared: Prepared, past: EarlierRun | None, checkpoint: Checkpoint | None
) -> None:
    """Raises ValueError on every process where one of them was called with something else.

    The message says on which process what differs from the first one's, by name.

    Args:
      past: of an extended sweep, what it was.
    """
    if not processes.several():
        return
    with processes.together("comparing the calls"):
        asked = dict(call_of(prepared, past).asked)
        machine: Any = asked.pop(MACHINE)
        data = prepared.arguments.data
        asked |= {
            **machine,
            "checkpoint": None if checkpoint is None else repr(checkpoint),
            PLACE: "on the host" if data is not None and data.on_host else "on the device",
        }
    told = processes.told_by_all("comparing the calls", asked)
    lines = [
        f"  process {number}: {line}"
        for number, other in enumerate(told[1:], start=1)
        for line in differences(told[0], other, ("on it", "on process 0"))
    ]
    if lines:
        said = "\n".join(lines)
        ways = [way for name, way in WAYS.items() if f": {name}" in said] or ["make the same call"]
        raise ValueError(
            f"the {len(told)} processes of this sweep were not called with the same. They differ "
            f"in\n{said}\nEvery process trains its part of one sweep, so {'; '.join(ways)}"
        )
