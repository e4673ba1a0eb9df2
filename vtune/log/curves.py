"""What a population did, as few curves: its leading member, and quantiles over all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vtune.results.report import Report, Run

QUANTILES = {"median": 0.5, "q10": 0.1, "q90": 0.9}
CURVES = ("best", *QUANTILES)


def scalars(report: Report) -> dict[str, np.ndarray]:
    """Returns the metrics that are single numbers, [new rounds, members]."""
    return {name: values for name, values in report.history.items() if values.ndim == 2}


def curves(run: Run, report: Report) -> Iterator[tuple[int, dict[str, dict[str, float]]]]:
    """Yields each round with the curves' values in it: curve -> metric -> value.

    "best" are the values of the member that led in this round. The others are quantiles over the
    members that were trained in it and have a finite value. What there is no value of is left out.
    """
    sign = 1.0 if run.mode == "max" else -1.0
    metrics = scalars(report)
    for row in range(report.stop - report.first):
        score = sign * np.where(report.trained[row], metrics[run.metric_name][row], np.nan)
        finite = np.isfinite(score)
        leading = int(np.where(finite, score, -np.inf).argmax())
        found: dict[str, dict[str, float]] = {curve: {} for curve in CURVES}
        for name, values in metrics.items():
            known = values[row][report.trained[row] & np.isfinite(values[row])]
            if finite.any() and np.isfinite(values[row, leading]):
                found["best"][name] = float(values[row, leading])
            if known.size:
                levels = np.quantile(known.astype(np.float64), list(QUANTILES.values()))
                found |= {
                    curve: {**found[curve], name: float(level)}
                    for curve, level in zip(QUANTILES, levels, strict=True)
                }
        yield report.first + row, found
