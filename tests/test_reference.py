"""Refiners equal the slow NumPy references of reference.py, given the same random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from decisions import SPACE, hparams_of, scores
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import greedy

import vtune as vt
from vtune.engine.plan import as_arrays
from vtune.refine import explore, gp, mfpbt, nsga2, pb2, pbt
from vtune.refine.exploit import bottom_count
from vtune.rng.keys import refine_key
from vtune.space.traced import program_space

SEEDS = st.integers(0, 2**31 - 1)
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnames="factors")
def draws_by_rank(key, space, ranks, factors=2):
    return explore.draw(key, space, ranks, factors)


@jax.jit
def refined(refiner, key, round, hparams, score, by_rank):
    """refine, with the exploration's draws as an argument: an exp in another program may round
    otherwise."""
    given = lambda key, space, place, factors: jax.tree.map(lambda a: a[place], by_rank)
    with pytest.MonkeyPatch.context() as patch:
        for module in (pbt, mfpbt):
            patch.setattr(module, "draw", given)
        return refiner.refine(key, round, program_space(SPACE), hparams, score, ())[0]


@functools.partial(jax.jit, static_argnames="size")
def drawn_for_pbt(key, space, size):
    """What PBT draws with its key: numbers to exploit with, and those to explore with by rank."""
    k_exploit, k_explore, _ = jax.random.split(key, 3)
    return jax.random.uniform(k_exploit, (size,)), draws_by_rank(k_explore, space, slots(size))


drawn_for_nsga2 = jax.jit(nsga2.draw)


def slots(size):
    return np.arange(size, dtype=np.int32)


@jax.jit
def refine(refiner, key, round, space, hparams, score, memory=()):
    return refiner.refine(key, round, space, hparams, score, memory)


def same(decision, expected):
    parents, hparams = expected
    np.testing.assert_array_equal(decision.parents, parents)
    for name, values in hparams.items():
        assert decision.hparams[name].dtype == values.dtype
        # low + k step is rounded once where the compiler fuses it, and twice in NumPy
        ulps = 1.2e-7 if name == "rate" else 0
        np.testing.assert_allclose(
            decision.hparams[name], values, rtol=ulps, atol=0, equal_nan=False, err_msg=name
        )


@pytest.mark.parametrize("kind", ["truncation", "binary_tournament"])
@pytest.mark.parametrize("quantile", [0.25, 0.2, 0.5])
@given(data=st.data(), seed=SEEDS)
def test_pbt(kind, quantile, data, seed):
    size, factors = 11, (1.7, 0.6)
    refiner = as_arrays(vt.PBT(1, 0, quantile, 0.3, factors, kind))
    score, hparams = data.draw(scores(size)), hparams_of(size, seed)
    key = jax.random.key(seed)
    space = program_space(SPACE)
    u, draws = jax.device_get(drawn_for_pbt(key, space, size))
    decision = refined(refiner, key, 3, hparams, score, draws)
    expected = reference.pbt(
        space,
        hparams,
        score,
        u,
        draws,
        quantile=quantile,
        factors=factors,
        probability=0.3,
        kind=kind,
    )
    same(decision, expected)


@given(data=st.data(), seed=SEEDS, round=st.integers(1, 12))
def test_mfpbt(data, seed, round):
    size, frequencies, factors = 24, (1, 3, 4), (2.0, 0.5)
    refiner = as_arrays(vt.MFPBT(frequencies, 0.3, factors))
    score, hparams = data.draw(scores(size)), hparams_of(size, seed)
    key, space = jax.random.key(seed), program_space(SPACE)
    draws = jax.device_get(draws_by_rank(key, space, slots(size)))
    decision = refined(refiner, key, round, hparams, score, draws)
    expected = reference.mfpbt(
        space,
        hparams,
        score,
        draws,
        round=round,
        frequencies=frequencies,
        factors=factors,
        probability=0.3,
    )
    same(decision, expected)


@settings(max_examples=20)
@given(seed=SEEDS, constrained=st.booleans())
def test_nsga2(seed, constrained):
    """Hyperparameters but for the rounding of powers and logarithms."""
    size, rng = 11, np.random.default_rng(seed)
    refiner = vt.NSGA2(
        {"a": "max", "b": "min"},
        quantile_fraction=0.4,
        crossover_prob=0.7,
        mutation_prob=0.4,
        eta=3.0,
        constraints=len,
    )
    score = rng.integers(-3, 4, (size, 2)).astype(np.float32)
    score[rng.random(size) < rng.choice([0, 0.2, 0.9])] = -np.inf
    violation = rng.choice([0, 0, 1, 2.5], size) * constrained
    given = np.column_stack([score, -violation])
    given[0, 2] = rng.choice([given[0, 2], -np.inf])  # what it violates is not known
    score[~np.isfinite(given[:, 2])] = -np.inf
    hparams, key, space = hparams_of(size, seed), jax.random.key(seed), program_space(SPACE)
    draws = jax.device_get(drawn_for_nsga2(key, space, slots(size)))
    decision, _ = refine(as_arrays(refiner), key, 3, space, hparams, given.astype(np.float32))
    parents, expected = reference.nsga2(
        space,
        hparams,
        score.astype(float),
        draws,
        quantile=0.4,
        crossover=0.7,
        mutation=0.4,
        eta=3.0,
        violation=violation,
    )
    np.testing.assert_array_equal(decision.parents, parents)
    for name, values in expected.items():
        np.testing.assert_allclose(decision.hparams[name], values, rtol=1e-4, atol=1e-6)


def test_mfpbt_of_equal_frequency_keeps_its_own_hyperparameters():
    score = np.array([5, 6, 7, 8, 1, 2, 3, 4], np.float32)
    hparams = hparams_of(8)
    space, key = program_space(SPACE), jax.random.key(0)
    new, _ = refine(vt.MFPBT((1, 1)), key, 1, space, hparams, score)
    migrant = 5  # second of the second group's ranks from below: its third quarter
    assert new.parents[migrant] == 3
    assert new.hparams["lr"][migrant] == hparams["lr"][migrant]


def test_a_sub_population_without_a_finite_score_explores_nothing():
    score = jnp.array([np.nan, -np.inf, -np.inf, np.nan, 1, 2, 3, 4], jnp.float32)
    parents, _, exploring = jax.jit(mfpbt.decide)(1, jnp.array([1, 1]), score)
    assert parents[:4].tolist() == [0, 1, 7, 3]  # its third quarter takes a migrant, no more
    assert not exploring[:4].any()


def test_the_draws_of_an_exploration_are_independent_and_uniform():
    space = program_space({"a": vt.Float(0.0, 1.0), "b": vt.Float(0.0, 1.0)})
    draws = draws_by_rank(jax.random.key(0), space, slots(2000))
    columns = np.array([part[name] for part in draws for name in ("a", "b")], float)
    assert np.abs(columns.mean(axis=1) - 0.5).max() < 0.05
    assert np.abs(np.corrcoef(columns) - np.eye(6)).max() < 0.1


@pytest.mark.parametrize("kind", [vt.PBT, vt.PB2])
def test_when_they_act(kind):
    """As in Ray Tune: first when burn-in and one interval are over, then every interval."""
    space = program_space({"lr": vt.Float(0.0, 1.0)})
    for interval, burn_in in ((1, 0), (3, 0), (2, 5), (4, 2), (1, 6)):
        refiner = as_arrays(kind(interval, burn_in))
        score, hparams = jnp.arange(8.0), {"lr": jnp.linspace(0.1, 0.9, 8)}
        memory, last = refiner.init(space, 8), 0
        for number in range(1, 14):
            due = number >= burn_in and number - last >= interval
            decision, memory = refine(refiner, KEY, number, space, hparams, score, memory)
            assert (decision.parents.tolist() != list(range(8))) == due, (interval, burn_in, number)
            last = number if due else last


def test_rounding_errors_of_the_quantile_do_not_count():
    for size in range(2, 100):
        for tenth in range(1, 6):
            for q in (tenth / 10, np.float32(tenth / 10)):
                assert int(bottom_count(size, q)) == min(-(-size * tenth // 10), size // 2)


def test_what_a_batch_chose_counts_as_observed_and_nothing_else_does():
    memory = vt.PB2(observations=4).init(program_space({"lr": vt.Float(0.0, 1.0)}), 2)
    points, time = np.array([[0.5], [0.5], [0.9]], np.float32), np.float32(1)
    chosen = jax.jit(pb2._batch)
    batch = lambda *choosing: chosen(memory, points, time, np.array(choosing)).tolist()
    assert batch(True, True) == [0, 2]
    assert batch(False, True)[1] == 0


def test_mfpbt_counts_quarters_from_the_worst():
    """Of seven the last explores and the last but one migrates."""
    space, key = program_space({"lr": vt.Float(0.0, 1.0)}), jax.random.key(0)
    score = np.concatenate([np.arange(7.0, 0.0, -1.0), np.arange(100.0, 107.0)])
    hparams = {"lr": np.linspace(0.0, 1.0, 14, dtype=np.float32)}
    new, _ = refine(vt.MFPBT((1, 5)), key, 1, space, hparams, score.astype(np.float32))
    assert new.parents.tolist() == [0, 1, 2, 3, 4, 13, 0, *range(7, 14)]


SIZES = (4, 5, 6, 7, 9, 16, 27, 30)


@jax.jit
def halved(score):
    """By size and factor the decision on the first so many scores."""
    return {
        (size, factor): vt.Halving(factor).refine(
            KEY, 1, {}, {"lr": jnp.arange(size)}, score[:size], ()
        )[0]
        for size in SIZES
        for factor in (2, 3, 4)
    }


@given(score=scores(max(SIZES)))
def test_halving(score):
    for (size, factor), decision in halved(score).items():
        assert decision.parents.tolist() == reference.halving(score[:size], factor)
        assert decision.hparams["lr"].tolist() == decision.parents.tolist()


@given(data=st.data(), rung=st.integers(0, 2))
def test_hyperband(data, rung):
    refiner = vt.Hyperband(max_rounds=27)
    size = refiner.rungs(refiner.size, 27)[rung].size
    score = data.draw(scores(size))
    decision, _ = hyperband(score)
    assert decision.parents.tolist() == reference.hyperband(score, refiner.brackets, rung)


@jax.jit
def hyperband(score):
    return vt.Hyperband(max_rounds=27).refine(KEY, 1, {}, {}, score, ())


def test_a_whole_run_equals_a_numpy_loop(x64):
    """The deceptive problem, 32 members, 50 rounds: every decision, weight and score."""
    space, size, rounds, steps, factors = {"h": vt.Float(1e-4, 1.1)}, 32, 50, 20, (2.0, 0.5)
    first = np.random.default_rng(3).uniform(0.9, 1.1, size)
    sweep = vt.tune(
        greedy(0.2),
        space,
        search=vt.Given([{"h": float(h)} for h in first]),
        refiner=vt.PBT(resample_probability=0.0, perturbation_factors=factors),
        steps=rounds * steps,
        rounds=rounds,
        metric="score",
        mode="max",
        seed=7,
    )
    inside = program_space(space)
    theta, p, h = np.full(size, 0.9), np.zeros(size), first.copy()
    score = None
    for number in range(rounds):
        parents = np.arange(size)
        if number:
            k_exploit, k_explore, _ = jax.random.split(refine_key(7, number, 0), 3)
            u = np.asarray(jax.random.uniform(k_exploit, (size,), np.float64))
            draws = jax.device_get(draws_by_rank(k_explore, inside, slots(size)))
            parents, new = reference.pbt(
                inside, {"h": h}, score, u, draws, quantile=0.25, factors=factors, probability=0.0
            )
            theta, p, h = theta[parents], p[parents], new["h"]
        np.testing.assert_array_equal(sweep.parents[number], parents)
        np.testing.assert_array_equal(sweep.settings["h"][number], h)
        p = p + 0.2 * np.abs(h - (1000 - 20 * number) / 1000)
        for _ in range(steps):
            theta = theta - 0.002 * np.maximum(2 - h - p, 0) * theta
        score = 1.2 - theta**2
        np.testing.assert_allclose(sweep.history["score"][number], score, rtol=0, atol=1e-12)


# PB2 ------------------------------------------------------------------------------------------


def on_device(*trees):
    return jax.tree.map(jnp.asarray, trees)


def observed(rows, dims, full, seed):
    rng = np.random.default_rng(seed)
    mask = (np.arange(rows) < full).astype(float)
    x, t, y = rng.random((rows, dims)), rng.integers(0, 9, rows) * 1.0, rng.normal(size=rows)
    return gp.Observations(x, t, y, mask)


KERNELS = [
    gp.Kernel(1.0, length, epsilon, noise)
    for length in (0.03, 0.3, 1.0)
    for epsilon in (0.0, 0.3)
    for noise in (0.03, 0.3)
]


@pytest.mark.parametrize("wide", [True, False], ids=["float64", "float32"])
def test_the_posterior_equals_a_dense_gaussian_process(wide, request):
    if wide:
        request.getfixturevalue("x64")
    posterior = jax.jit(gp.posterior)
    for number, kernel in enumerate(KERNELS):
        seen = observed(40, 2, [40, 25, 1][number % 3], number)
        points, full = np.random.default_rng(99).random((20, 2)), int(seen.mask.sum())
        mean, covariance = posterior(
            kernel, jax.tree.map(jnp.asarray, seen), points, np.full(20, 9.0)
        )
        expected = reference.gaussian_process(
            kernel, seen.x[:full], seen.t[:full], seen.y[:full], points, 9.0
        )
        limit = 1e-9 if wide else 1e-5
        np.testing.assert_allclose(np.diag(covariance), expected[1], rtol=0, atol=limit)
        np.testing.assert_allclose(mean, expected[0], rtol=0, atol=limit)


def test_a_chosen_point_counts_as_observed(x64):
    """Its value is not known yet: the mean stays, the variance is that of a process that saw it."""
    kernel = gp.Kernel(1.0, 0.3, 0.1, 0.1)
    seen = observed(12, 2, 12, 0)
    points = np.random.default_rng(1).random((9, 2))

    @jax.jit
    def conditioned(kernel, seen, points, times):
        _, covariance = gp.posterior(kernel, seen, points, times)
        for chosen in (3, 7, 3):
            covariance = gp.condition(kernel, covariance, jnp.int32(chosen))
        return covariance

    covariance = conditioned(kernel, *on_device(seen, points, np.full(9, 4.0)))
    more = points[[3, 7, 3]]
    x, t = np.concatenate([seen.x, more]), np.concatenate([seen.t, np.full(3, 4.0)])
    expected = reference.gaussian_process(kernel, x, t, np.zeros(15), points, 4.0)[1]
    np.testing.assert_allclose(np.diag(covariance), expected, rtol=0, atol=1e-9)


def test_the_kernel_is_the_likeliest_of_the_grid(x64):
    """Smooth observations without drift ask for a long lengthscale, no decay and little noise."""
    x = np.random.default_rng(0).random((60, 1))
    smooth = gp.Observations(x, np.arange(60.0), np.sin(3 * x[:, 0]), np.ones(60))
    fit, likelihood = jax.jit(pb2.fit), jax.jit(gp.log_likelihood)
    kernel = fit(*on_device(smooth))
    assert (kernel.lengthscale, kernel.epsilon, kernel.noise) == (1.0, 0.0, 0.03)
    noise = smooth._replace(y=np.random.default_rng(1).normal(size=60))
    assert fit(*on_device(noise)).noise == 0.3
    dense = likelihood(kernel, *on_device(smooth))
    covariance = np.exp(-((x - x.T) ** 2)) + 0.03 * np.eye(60)
    y = smooth.y
    expected = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(covariance)[1]
    assert float(dense) == pytest.approx(expected, abs=1e-6)


def test_pb2_remembers_improvements_of_those_that_trained():
    space = program_space({"lr": vt.Float(0.0, 1.0)})
    refiner = vt.PB2(observations=8, candidates=16)
    refine = jax.jit(lambda *args: refiner.refine(args[0], args[1], space, *args[2:]))
    memory = refiner.init(space, 4)
    hparams = {"lr": jnp.array([0.1, 0.2, 0.3, 0.4])}
    key = jax.random.key(0)
    score = jnp.array([1.0, 2.0, 3.0, 4.0])
    decision, memory = refine(key, 1, hparams, score, memory)
    assert int(memory.count) == 0  # nothing to compare with yet
    assert int(decision.parents[0]) == 3
    np.testing.assert_array_equal(memory.start, [4.0, 2.0, 3.0, 4.0])  # of the weights it took
    after = jnp.array([4.5, -jnp.inf, 3.25, 6.0])
    held = decision.hparams
    decision, memory = refine(key, 2, held, after, memory)
    assert int(memory.count) == 3  # the diverged one is left out
    np.testing.assert_allclose(memory.y[:3], [2.0, 0.5, 0.25])  # best first
    order = [3, 0, 2]
    np.testing.assert_allclose(memory.x[:3, 0], np.asarray(held["lr"])[order], rtol=1e-6)
    np.testing.assert_array_equal(memory.t[:3], [2.0, 2.0, 2.0])
    for number in range(3, 9):  # the ring goes round
        _, memory = refine(key, number, held, after + number, memory)
    assert memory.y.shape == (8,)
    assert int(memory.count) > 16


def test_pb2_goes_where_improvement_was_seen():
    """Improvement is largest at 0.7: after some rounds what is chosen lies there."""
    space = program_space({"lr": vt.Float(0.0, 1.0)})
    refiner = vt.PB2(quantile_fraction=0.5, candidates=128)
    refine = jax.jit(lambda *args: refiner.refine(args[0], args[1], space, *args[2:]))
    memory = refiner.init(space, 8)
    held, score = {"lr": jnp.linspace(0.0, 0.4, 8)}, jnp.zeros(8)
    chosen = []
    for number in range(1, 16):
        score = score - (held["lr"] - 0.7) ** 2
        decision, memory = refine(jax.random.key(number), number, held, score, memory)
        fresh = np.asarray(decision.parents) != np.arange(8)
        chosen.append(np.asarray(decision.hparams["lr"])[fresh])
        held, score = decision.hparams, score[decision.parents]
    assert abs(np.median(np.concatenate(chosen[-5:])) - 0.7) < 0.1
