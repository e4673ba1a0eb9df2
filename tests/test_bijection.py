"""The shuffle that is computed place by place: a bijection, the same everywhere, well mixed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vtune.rng.bijection import permuted
from vtune.rng.keys import row_key
from vtune.rng.row_words import row_words

WORD = st.integers(0, 2**32 - 1)
LARGE = [2**21 - 5, 2**21 + 7, 3_000_017]  # below and above a power of two, odd and even bits


@functools.cache
def shuffle(size, epoch):
    """All places of an epoch's shuffle; those of the first epochs have keys that differ little."""
    words = np.array([0, epoch], np.uint32)
    return permuted(words, size, np.arange(size), np).astype(np.int64)


@given(st.integers(1, 3000), WORD, WORD)
def test_every_number_stands_at_one_place(size, first, second):
    reached = permuted(np.array([first, second], np.uint32), size, np.arange(size), np)
    assert reached.dtype == np.int32
    np.testing.assert_array_equal(np.sort(reached), np.arange(size))


@pytest.mark.parametrize(
    "size", [*range(1, 70), *(2**b + more for b in (7, 8, 9) for more in (-1, 0, 1))]
)
def test_every_number_stands_at_one_place_whatever_the_size(size):
    shuffles = [
        permuted(np.array([7, key], np.uint32), size, np.arange(size), np) for key in range(20)
    ]
    for reached in shuffles:
        np.testing.assert_array_equal(np.sort(reached), np.arange(size))
    assert size < 8 or len(set(map(tuple, shuffles))) == 20


@pytest.mark.parametrize("size", LARGE)
def test_large_sizes_are_permuted(size):
    np.testing.assert_array_equal(np.sort(shuffle(size, 0)), np.arange(size))


def test_the_largest_size_stays_in_range():
    size = 2**31 - 1
    places = np.concatenate([np.arange(1000), np.arange(size - 1000, size)])
    reached = permuted(np.array([1, 2], np.uint32), size, places, np)
    assert len(set(reached.tolist())) == 2000
    assert reached.min() >= 0


def test_places_beyond_the_last_are_taken_for_it():
    words = np.array([1, 2], np.uint32)
    assert np.ptp(permuted(words, 10, np.arange(9, 500), np)) == 0
    assert permuted(words, 0, np.arange(3), np).tolist() == [0, 0, 0]  # of no rows: it ends


def test_the_host_and_a_program_have_the_same_bits():
    sizes = np.array([1, 2, 3, 17, 100, 2**12 + 1, 2**21 + 7, 2**31 - 1])

    @jax.jit
    def on_device(words, sizes, places):
        static = permuted(words, 2**21 + 7, places[6])
        return static, jax.vmap(functools.partial(permuted, words))(sizes, places)

    words = np.array([2**32 - 1, 2**31 + 3], np.uint32)
    places = np.stack([np.random.default_rng(size).integers(0, size, (50, 40)) for size in sizes])
    static, traced = on_device(words, sizes.astype(np.int32), places.astype(np.int32))
    assert traced.dtype == static.dtype == jnp.int32
    host = [permuted(words, size, own, np) for size, own in zip(sizes, places, strict=True)]
    np.testing.assert_array_equal(traced, host)
    np.testing.assert_array_equal(static, host[6])


@given(st.lists(st.tuples(WORD, st.integers(0, 1000), st.integers(0, 2**20)), min_size=1))
def test_words_on_the_host_are_the_data_of_row_key(cases):
    seeds, folds, epochs = (np.array(part, np.uint32) for part in zip(*cases, strict=True))
    np.testing.assert_array_equal(
        [row_words(*case) for case in zip(seeds, folds, epochs, strict=True)],
        [key_data(*case) for case in zip(seeds, folds, epochs, strict=True)],
    )


@jax.jit
def key_data(seed, fold, epoch):
    return jax.random.key_data(row_key(seed, fold, epoch))


def uniform(cells, number):
    """The probability that equally likely cells are hit as unevenly."""
    counts = np.bincount(cells, minlength=number)
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("size", LARGE)
def test_shuffles_look_random(size):
    """Each value is a probability, of which thousands would have to be drawn to see one so low.

    Two rounds in the place of eight fail by hundreds of decimal powers.
    """
    places, epochs = np.arange(size), range(4)
    for epoch in epochs:
        own, next_one = shuffle(size, epoch), shuffle(size, epoch + 1)
        where = places * 32 // size * 32 + own * 32 // size
        assert uniform(where, 1024) > 1e-5
        for apart in (1, 2048):  # neighbours, and those that differ in `high` alone
            gaps = (own[apart:] - own[:-apart]) % size
            assert uniform(gaps * 1024 // size, 1024) > 1e-5
        assert uniform((own[1:] % 32) * 32 + own[:-1] % 32, 1024) > 1e-5
        moved = (next_one - own) % size  # from epoch to epoch
        assert uniform(moved * 1024 // size, 1024) > 1e-5
        assert abs(np.corrcoef(own, next_one)[0, 1]) * size**0.5 < 4.5
        assert abs(np.corrcoef(own, places)[0, 1]) * size**0.5 < 4.5
    fixed = sum(int((shuffle(size, epoch) == places).sum()) for epoch in epochs)
    assert stats.poisson.cdf(fixed, 4) > 1e-5
    assert stats.poisson.sf(fixed - 1, 4) > 1e-5


def test_fixed_points_are_those_of_random_permutations():
    """Their number is Poisson of mean 1, and cycles are as many as the harmonic number."""
    size = 1000
    fixed, cycles = [], []
    for key in range(400):
        reached = permuted(np.array([key, 5], np.uint32), size, np.arange(size), np)
        fixed.append(int((reached == np.arange(size)).sum()))
        cycles.append(count_cycles(reached.tolist()))
    expected = np.append(stats.poisson.pmf(np.arange(4), 1), stats.poisson.sf(3, 1)) * 400
    counts = np.bincount(np.minimum(fixed, 4), minlength=5)
    assert stats.chisquare(counts, expected).pvalue > 1e-4
    harmonic = sum(1 / k for k in range(1, size + 1))
    spread = (harmonic - sum(1 / k**2 for k in range(1, size + 1))) ** 0.5
    assert abs(np.mean(cycles) - harmonic) < 4 * spread / 400**0.5


def count_cycles(reached):
    seen, cycles = [False] * len(reached), 0
    for start in range(len(reached)):
        cycles += not seen[start]
        while not seen[start]:
            seen[start] = True
            start = reached[start]
    return cycles
