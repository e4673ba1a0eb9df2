"""What the numbers of a sweep advise: a function each, which returns a sentence or None.

Each is silent unless the numbers leave little doubt, since advice that comes of chance costs a
sweep. They are asked of sweeps that have a best member.
"""

from vtune.report.advice.edges import near_an_edge
from vtune.report.advice.divergence import divergence
from vtune.report.advice.training import still_improving
from vtune.report.advice.spread import within_the_spread
from vtune.report.advice.count import too_few_settings
from vtune.report.advice.importance import without_effect
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep

ADVICE = (
    near_an_edge,
    divergence,
    still_improving,
    within_the_spread,
    too_few_settings,
    without_effect,
)

__all__ = ["ADVICE", "advice"]


def advice(sweep: Sweep) -> list[str]:
    """Returns all that is to be said of a sweep; where no member has a score, why not."""
    reason = no_finite_score(sweep.trained)
    if reason is not None:
        return [f"{reason[0].upper()}{reason[1:]}."]
    return [said for function in ADVICE if (said := function(sweep)) is not None]
