"""Slow and obvious refiners in NumPy, one slot after the other. Random numbers are given.

Draws are by rank: the best slot takes the first number.
"""

import math

import numpy as np


def ranking(score):
    """Slots from best to worst, those without a finite score last, ties in order."""
    value = [s if math.isfinite(s) else -math.inf for s in score]
    return sorted(range(len(value)), key=lambda slot: -value[slot])


def value_of(score):
    return score if math.isfinite(score) else -math.inf


def truncation(score, u, quantile):
    n, order = len(score), ranking(score)
    count = min(math.ceil(round(n * quantile, 9)), n // 2)
    top = [slot for slot in order[:count] if math.isfinite(score[slot])]
    parents = list(range(n))
    for rank, slot in enumerate(order):
        if rank >= n - count and top:
            parents[slot] = top[int(u[rank] * len(top))]
    return parents


def tournament(score, u):
    n, order = len(score), ranking(score)
    parents = list(range(n))
    for rank, slot in enumerate(order):
        other = order[(rank + 1 + int(u[rank] * (n - 1))) % n]
        if value_of(score[other]) > value_of(score[slot]):
            parents[slot] = other
    return parents


def choices(distribution):
    """All values of a distribution of single values, None for a continuum."""
    if hasattr(distribution, "values"):
        return np.asarray(distribution.values)
    if distribution.step is None:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    count = int(np.floor((high - low) / step + 1e-5)) + 1
    return (low + np.arange(count) * step).astype(np.asarray(low).dtype)


def perturbed(distribution, value, factor):
    """One hyperparameter of one slot, moved by one factor."""
    known = choices(distribution)
    if known is None:
        moved = value * np.asarray(factor, value.dtype)
        return min(max(moved, distribution.low), distribution.high)
    place = int(np.argmin(np.abs(known.astype(float) - float(value))))
    return known[min(max(place + (1 if factor > 1 else -1), 0), len(known) - 1)]


def explored(space, hparams, rank, draws, factors, probability):
    """The hyperparameters of one slot after exploration; draws are those of its rank."""
    new = {}
    for name, value in hparams.items():
        if draws.resample[name][rank] < probability:
            new[name] = draws.fresh[name][rank]
        else:
            new[name] = perturbed(space[name], value, factors[draws.factor[name][rank]])
    return new


def pbt(space, hparams, score, u, draws, *, quantile, factors, probability, kind="truncation"):
    """(parents, hyperparameters by name) of a round in which PBT acts."""
    n = len(score)
    parents = truncation(score, u, quantile) if kind == "truncation" else tournament(score, u)
    new = {name: np.array(values) for name, values in hparams.items()}
    for rank, slot in enumerate(ranking(score)):
        if parents[slot] != slot:
            own = {name: values[parents[slot]] for name, values in hparams.items()}
            for name, value in explored(space, own, rank, draws, factors, probability).items():
                new[name][slot] = value
    assert len(parents) == n
    return parents, new


def mfpbt(space, hparams, score, draws, *, round, frequencies, factors, probability):
    """(parents, hyperparameters by name) of one round of MF-PBT."""
    n, groups = len(score), len(frequencies)
    size = n // groups
    share = size // 4
    parents = list(range(n))
    new = {name: np.array(values) for name, values in hparams.items()}
    overall = ranking(score)
    for group, frequency in enumerate(frequencies):
        if round % frequency:
            continue
        members = [group * size + slot for slot in ranking(score[group * size :][:size])]
        for top, bottom, rank in zip(
            members[:share], members[-share:], range(size - share, size), strict=True
        ):
            if math.isfinite(score[top]):
                parents[bottom] = top
                own = {name: values[top] for name, values in hparams.items()}
                place = group * size + rank
                found = explored(space, own, place, draws, factors, probability)
                for name, value in found.items():
                    new[name][bottom] = value
        donors = [slot for slot in overall if slot // size != group]
        for slot in members[len(members) - 2 * share : len(members) - share]:
            donor = donors[0]
            if value_of(score[slot]) < value_of(score[donor]):
                donors.pop(0)
                parents[slot] = donor
                theirs = frequencies[donor // size]
                lender = donor if theirs > frequency else members[0] if theirs < frequency else slot
                for name, values in hparams.items():
                    new[name][slot] = values[lender]
    return parents, new


def halving(score, factor):
    """The slots that go on."""
    return sorted(ranking(score)[: math.ceil(len(score) / factor)])


def hyperband(score, brackets, rung):
    """The slots that go on after a rung; `brackets` are sizes rung by rung."""
    first, kept = 0, []
    for number, sizes in enumerate(brackets):
        now, then = (sizes[max(0, r - number)] for r in (rung, rung + 1))
        kept += sorted(first + slot for slot in ranking(score[first : first + now])[:then])
        first += now
    return kept


def dominates(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def fronts(score, violation):
    """The number of the front that each slot lies in; as many as slots for those without scores."""
    n = len(score)
    left = {slot for slot in range(n) if np.isfinite(score[slot]).all()}
    found = np.full(n, n)

    def beats(a, b):
        if violation[a] or violation[b]:
            return violation[a] < violation[b]
        return dominates(score[a], score[b])

    number = 0
    while left:
        now = {slot for slot in left if not any(beats(other, slot) for other in left)}
        found[list(now)] = number
        left, number = left - now, number + 1
    return found


def crowding(score, front):
    """Deb et al. (2002), with Optuna's answer to equal values: in an objective in which all of a
    front are equal nobody is crowded, and ends are infinitely far from what is beyond them."""
    distance = np.zeros(len(score))
    for number in set(front) - {len(score)}:
        slots = list(np.flatnonzero(front == number))
        for column in np.transpose(score):
            slots.sort(key=lambda slot: column[slot])  # equal ones stay as they were before
            values = [-math.inf, *column[slots], math.inf]
            width = values[-2] - values[1]
            if width > 0:
                for i, slot in enumerate(slots):
                    distance[slot] += (values[i + 2] - values[i]) / width
    return distance


def position(distribution, value):
    """Where a value lies on its distribution's scale, from 0 to 1."""
    known = choices(distribution)
    if hasattr(distribution, "values"):
        return int(np.argmin(np.abs(known - value))) / (len(known) - 1)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        return math.log(float(value) / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def at(distribution, place):
    """The nearest value to a place on the scale."""
    known, place = choices(distribution), min(max(place, 0), 1)
    if hasattr(distribution, "values"):
        return known[int(np.rint(place * (len(known) - 1)))]
    low, high = float(distribution.low), float(distribution.high)
    value = low * (high / low) ** place if distribution.log else low + place * (high - low)
    return value if known is None else known[int(np.argmin(np.abs(known.astype(float) - value)))]


def bred(distribution, first, second, draws, eta, crosses, probability):
    """One hyperparameter of an offspring: simulated binary crossover, then polynomial mutation."""
    child = first
    if crosses and draws["takes"] < 0.5 and first != second:
        u = draws["spread"]
        spread = (2 * u if u <= 0.5 else 1 / (2 - 2 * u)) ** (1 / (eta + 1))
        a, b = position(distribution, first), position(distribution, second)
        near, far = ((a + b + sign * spread * (a - b)) / 2 for sign in (1, -1))
        child = at(distribution, far if draws["swaps"] < 0.5 else near)
    if draws["mutates"] >= probability:
        return child
    u = draws["moves"]
    step = (2 * u) ** (1 / (eta + 1)) - 1 if u < 0.5 else 1 - (2 - 2 * u) ** (1 / (eta + 1))
    moved = at(distribution, position(distribution, child) + step)
    if choices(distribution) is not None and moved == child:
        return perturbed(distribution, child, 2 if u >= 0.5 else 0.5)
    return moved


def nsga2(space, hparams, score, draws, *, quantile, crossover, mutation, eta, violation=None):
    """(parents, hyperparameters by name) of a round in which NSGA-II acts."""
    n = len(score)
    alive = np.isfinite(score).all(axis=1)
    violation = np.zeros(n) if violation is None else violation
    front = fronts(score, violation)
    apart = crowding(score, front)
    key = lambda slot: (front[slot], -apart[slot], *(-score[slot] if alive[slot] else ()), slot)
    order = sorted(range(n), key=key)
    count = min(math.ceil(round(n * quantile, 9)), n // 2)
    others = order[: min(n - count, alive.sum())]
    parents = list(range(n))
    new = {name: np.array(values) for name, values in hparams.items()}
    for rank, slot in enumerate(order):
        if rank < n - count or not others:
            continue
        met = (draws.rivals[:, :, rank] * len(others)).astype(int)
        first, second = (others[min(pair)] for pair in met)
        parents[slot] = first
        for name, values in hparams.items():
            own = {field: u[rank] for field, u in draws.each[name]._asdict().items()}
            crosses = draws.crosses[rank] < crossover
            found = bred(space[name], values[first], values[second], own, eta, crosses, mutation)
            new[name][slot] = found
    return parents, new


def gaussian_process(kernel, x, t, y, points, time):
    """Posterior mean and variance at the points, of the observations given, by inversion."""

    def covariance(a, s, b, r):
        distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1)
        age = np.abs(s[:, None] - r[None, :])
        decay = (1 - kernel.epsilon) ** (age / 2)
        return kernel.variance * np.exp(-distance / kernel.lengthscale) * decay

    times = np.full(len(points), float(time))
    inverse = np.linalg.inv(covariance(x, t, x, t) + kernel.noise * np.eye(len(x)))
    across = covariance(points, times, x, t)
    spread = covariance(points, times, points, times) - across @ inverse @ across.T
    return across @ inverse @ y, np.diag(spread)
