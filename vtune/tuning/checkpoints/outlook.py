"""Whether a run can go on from its folder, as `beginning` decides it, told without its script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vtune.results.checkpoint_files import Header, newest_readable, read_header
from vtune.results.damage import said_of_checkpoint
from vtune.saved_files import MANIFEST, Brief, brief, holder, is_held
from vtune.tuning.checkpoints.machine import machine_of, other_machine, versions


class Outlook(NamedTuple):
    """What comes of starting a run's script again.

    Attributes:
      possible: whether there is something to go on with, and it can be read.
      why: in words.
      round, rounds: how many were run, of so many; None where it is not known.
      differs: in what this machine differs from the one it was begun on. It goes on all the same,
        with a warning.
    """

    possible: bool
    why: str
    round: int | None = None
    rounds: int | None = None
    differs: tuple[str, ...] = ()


def outlook_of_saved(folder: Path, damages: Sequence[str]) -> Outlook:
    """Returns the outlook of a saved sweep.

    Args:
      damages: what is wrong with its files.
    """
    about = brief(folder)
    if damages:
        return _told(about, False, "cannot go on, it is damaged")
    if about.round == about.rounds:
        return _told(about, False, "finished, nothing to go on with")
    return _told(about, True, f"ended after {_rounds(about)}; vt.extend goes on with it")


def outlook(folder: Path, errors: Mapping[Path, ValueError | None]) -> Outlook:
    """Returns the outlook of a run that keeps checkpoints and is not finished.

    Whether its script still makes the same call, only the script can tell.

    Args:
      errors: by checkpoint, the newest first, why it cannot be read.
    """
    about = brief(folder)
    if (folder / MANIFEST).exists():  # it was finished meanwhile
        return outlook_of_saved(folder, ())
    if is_held(folder):
        process, machine = holder(folder) or (0, "")
        return _told(about, False, f"is running now, process {process} on {machine}")

    def reader(path: Path) -> Header:
        error = errors[path]
        if error is not None:
            raise error
        return read_header(path)

    try:
        header, damaged = newest_readable(errors, reader)
    except ValueError as error:  # of something else: no older one is looked for
        path = next(path for path, found in errors.items() if found is error)
        return _told(about, False, f"cannot go on, {said_of_checkpoint(path, error)}")
    if header is None and damaged:
        anew = "vt.Checkpoint(folder, restart=True) begins anew"
        return _told(about, False, f"cannot go on, all checkpoints are damaged; {anew}")
    if header is None:
        return Outlook(True, "has no checkpoint yet, its script begins anew")
    about = about._replace(round=header.rounds, rounds=header.manifest["rounds"])
    lost = ", since the newer ones are damaged" if damaged else ""
    why = f"can go on after {_rounds(about)}{lost}: run its script again"
    return _told(about, True, why, _differences(header.manifest))


def _told(about: Brief, possible: bool, why: str, differs: Sequence[str] = ()) -> Outlook:
    return Outlook(possible, why, about.round, about.rounds, tuple(differs))


def _rounds(about: Brief) -> str:
    return f"round {about.round} of {about.rounds}"


def _differences(manifest: Mapping[str, Any]) -> list[str]:
    """How this machine differs. On a CPU the script decides how many devices there are."""
    before = machine_of(manifest)
    now, note = versions(), []
    platform, devices = before.get("platform"), before.get("devices")
    if looks_at_cpus_alone():
        if platform not in (None, "cpu"):
            note.append(
                f"it was begun on {devices} devices of the platform {platform}; this command did "
                "not look for them here, JAX_PLATFORMS= before it lets it"
            )
    else:
        now["platform"] = jax.default_backend()
        if platform == now["platform"] != "cpu":
            size = max(cohort["rungs"][0][0] for cohort in manifest["cohorts"])
            now["devices"] = min(jax.local_device_count(), size)
    return [*other_machine(before, now), *note]


def looks_at_cpus_alone() -> bool:
    """Whether JAX was told to leave chips alone, which the sweep looked at may be using."""
    return getattr(jax.config, "jax_platforms", None) == "cpu"
