"""`sweep.plot`: the plots of one sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vtune import plots
from vtune.metrics.modes import nearest
from vtune.results.sweep import Sweep


class Plot:
    """The plots of one sweep: `sweep.plot.axis("lr")` is `vt.plots.axis(sweep, "lr")`."""

    def __init__(self, sweep: Sweep):
        self._sweep = sweep

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in plots.__all__:
            near = None if name.startswith("_") else nearest(name, plots.__all__)
            raise AttributeError(
                f"sweep.plot has no {name!r}; it has {plots.__all__}"
                + (f"; did you mean {near!r}?" if near else "")
            )
        return functools.partial(getattr(plots, name), self._sweep)

    def __dir__(self) -> list[str]:
        return plots.__all__

    def __repr__(self) -> str:
        return f"the plots of {self._sweep!r}: {', '.join(plots.__all__)}"
