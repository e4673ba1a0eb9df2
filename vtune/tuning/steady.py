"""Whether `epochs=` and `batch_size=`, as functions of `h`, give the same each time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from vtune.hparams import Hparams
from vtune.learner.chance import suspects
from vtune.search.base import Cohort

ASKED = 8  # times, to see whether chance decides


def check_steady(
    name: str, function: Callable[[Hparams], Any], cohorts: tuple[Cohort, ...]
) -> None:
    """Raises ValueError where a function that names a clock or chance gives something else each
    time: it is asked more than once."""
    named = suspects(function)
    for cohort in cohorts if named else ():
        for setting in settings_of(cohort):
            with contextlib.suppress(Exception):  # which is said where it is used
                h = Hparams(setting, cohort.combination.static)
                if len({function(h) for _ in range(ASKED)}) > 1:
                    break
        else:
            continue
        raise ValueError(
            f"{name}= gives something else each time it is called: it reads {', '.join(named)}; "
            f'make {name!r} a part of the space, and write {name}=lambda h: h["{name}"]'
        )


def settings_of(cohort: Cohort) -> list[dict[str, Any]]:
    """Returns the traced values of every member, by name."""
    columns = cohort.hparams.items()
    return [{name: values[i] for name, values in columns} for i in range(len(cohort.id))]
