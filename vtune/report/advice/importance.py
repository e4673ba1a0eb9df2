"""Advice: hyperparameters on which the scores do not depend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vtune.plots.hyperparameters import hyperparameter, varying
from vtune.plots.scores import scores_of
from vtune.report.moves import changed, copied
from vtune.report.words import listed, shown
from vtune.results.sweep import Sweep

PARTS = 5  # of a range
FEWEST = 5  # members of each part
MOST, MOST_OF_GOOD = 0.1, 0.2  # of the variance of ranks
CHANCE = 0.1


class Explained(NamedTuple):
    """What parts of a range explain of the members' ranks.

    Attributes:
      most: the upper 95 % bound of the share of the ranks' variance that lies between the parts.
      p: how probable so large a share is where there is none.
    """

    most: float
    p: float


UNKNOWN = Explained(1.0, 0.0)


def without_effect(sweep: Sweep) -> str | None:
    """Returns which hyperparameters explain next to nothing of the members' ranks.

    Ranges are cut in five, and choices are parts themselves. The share of the variance of ranks
    that lies between the parts must be no more than chance gives in one of ten sweeps, and its
    upper bound at most a tenth over all members, and a fifth over the better half of those with a
    score: what matters only where the others are right shows there alone. About a hundred members
    are the fewest that can say so. Where a refiner copies or changes settings, they follow the
    scores, and nothing is said.
    """
    if copied(sweep) or changed(sweep):
        return None
    scores = scores_of("report", sweep)
    worth = scores.worth
    order = np.argsort(-worth, kind="stable")
    half = order[: int((~scores.failed).sum()) // 2]
    found = []
    for name in varying(sweep.space):
        part = hyperparameter(sweep, name, scores).bucket(PARTS)
        overall, good = explained(part, worth), explained(part[half], worth[half])
        small = overall.most <= MOST and good.most <= MOST_OF_GOOD
        if small and min(overall.p, good.p) >= CHANCE:
            found.append((name, overall.most, good.most))
    if not found:
        return None
    names, overall_most, good_most = zip(*found, strict=True)
    does, explain = ("does", "It explains") if len(found) == 1 else ("do", "Each explains")
    return (
        f"{listed(list(map(shown, names)))} {does} not seem to matter here. {explain} at most "
        f"{max(overall_most):.0%} of the variance of the members' ranks, and at most "
        f"{max(good_most):.0%} among the better half (upper 95 % bounds of eta squared over parts "
        "of the range). Fix what does not matter, and search the others more finely."
    )


def explained(part: np.ndarray, worth: np.ndarray) -> Explained:
    """Returns how much of the variance of ranks lies between parts; all of it where too few members
    are in them to say.

    With F of the analysis of variance of ranks, the bound is l / (l + n) for the noncentrality l at
    which a smaller F has the probability 0.05. For the bound F counts as 1 at least.

    Args:
      part: [members] the number of each member's part; -1 without one. worth: [members] higher is
        better, -inf for those that failed.

    Steiger, "Beyond the F test" (2004).
    """
    from scipy import optimize, stats  # slow to import

    there = part >= 0
    numbers, counts = np.unique(part[there], return_counts=True)
    if len(numbers) < 2 or counts.min() < FEWEST:
        return UNKNOWN
    ranks = stats.rankdata(worth[there])
    groups = [ranks[part[there] == number] for number in numbers]
    within = sum(float(np.sum((group - group.mean()) ** 2)) for group in groups)
    total = float(np.sum((ranks - ranks.mean()) ** 2))
    if within <= 1e-12 * total or total == 0:
        return UNKNOWN
    n, between, free = len(ranks), len(numbers) - 1, len(ranks) - len(numbers)
    f = ((total - within) / between) / (within / free)
    below = lambda noncentrality: stats.ncf.cdf(max(f, 1.0), between, free, noncentrality) - 0.05
    if below(float(n)) > 0:
        return UNKNOWN  # half of the variance or more
    bound = float(optimize.brentq(below, 1e-9, float(n)))
    return Explained(bound / (bound + n), float(stats.f.sf(f, between, free)))
