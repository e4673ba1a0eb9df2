"""Batches that a pipeline of the user's makes: in order, checked, taken up where they stopped."""

import json

import numpy as np
import pytest
from problems import LR, quadratic
from record_source import Numbers

import vtune as vt
from vtune.data.streams.feeds import LoadedFeed, MadeFeed
from vtune.data.streams.states import from_json, to_json
from vtune.data.streams.tape import Tape
from vtune.results.given_data import check_repeats
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.checkpoints.call import call_of, differences
from vtune.tuning.duration import length_of
from vtune.tuning.prepare import prepare
from vtune.tuning.streamed import warn_of_addresses

STEPS, ROWS = 5, 3


def batch(number):
    """Batch `number`, whose rows say which it is."""
    return {"x": np.full((ROWS, 2), number, np.float32), "y": np.full(ROWS, number)}


def numbers(rows):
    return rows["y"].reshape(-1, ROWS)[:, 0].tolist()


class Factory:
    """Batch b of epoch e with seed s is s * 10000 + e * 100 + b; counts what was made."""

    def __init__(self, length=STEPS):
        self.length, self.made, self.closed = length, [], 0

    def __call__(self, seed, epoch):
        self.made.append((seed, epoch))
        try:
            for number in range(self.length):
                yield batch(seed * 10_000 + epoch * 100 + number)
        finally:
            self.closed += 1


class Loader:
    """Counts up within a pass; each pass begins a hundred higher, as a loader that shuffles."""

    def __init__(self, length=STEPS):
        self.length, self.passes = length, 0

    def __iter__(self):
        self.passes += 1
        return iter([batch((self.passes - 1) * 100 + i) for i in range(self.length)])


class Stateful:
    """An iterator without end that says where it stands."""

    def __init__(self, kind=dict):
        self.at, self.kind, self.given = 0, kind, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.at += 1
        self.given += 1
        return batch(self.at - 1)

    def get_state(self):
        return {"next": self.at} if self.kind is dict else json.dumps(self.at).encode()

    def set_state(self, state):
        self.at = state["next"] if self.kind is dict else json.loads(state)


def endless(at=0):
    while True:
        yield batch(at)
        at += 1


# In order -------------------------------------------------------------------------------------


def test_a_factory_is_asked_for_each_epoch_anew():
    made = Factory(length=STEPS + 2)  # what is beyond is left out
    tape = Tape(MadeFeed(made, STEPS), STEPS)
    assert numbers(tape.read(3, 0, 2)) == [30000, 30001]
    assert numbers(tape.read(3, 2, 3)) == [30002, 30003, 30004]
    assert numbers(tape.read(3, 5, 5)) == [30100, 30101, 30102, 30103, 30104]
    assert made.made == [(0, 0), (3, 0), (3, 1)]
    assert made.closed == 2


def test_a_factory_begins_again_wherever_it_is_asked_to():
    made = Factory()
    tape = Tape(MadeFeed(made, STEPS), STEPS)
    assert numbers(tape.read(1, 13, 2)) == [10203, 10204]
    assert numbers(tape.read(1, 12, 1)) == [10202]
    assert numbers(tape.read(2, 12, 1)) == [20202]
    assert tape.position() is None


def test_a_factory_that_failed_is_asked_anew():
    fails = [True]

    def batches(seed, epoch):
        yield batch(0)
        if epoch and fails.pop():
            raise OSError("the disk is away")
        yield batch(1)

    tape = Tape(MadeFeed(batches, 2), 2)
    tape.read(0, 0, 2)
    with pytest.raises(OSError, match="the disk is away"):
        tape.read(0, 2, 2)
    fails.append(False)
    assert numbers(tape.read(0, 2, 2)) == [0, 1]


def test_the_first_batch_is_not_lost_and_its_pass_goes_on():
    made, loader = Factory(), Loader()
    assert numbers(Tape(MadeFeed(made, STEPS), STEPS).read(0, 0, 3)) == [0, 1, 2]
    assert made.made == [(0, 0)]
    assert numbers(Tape(LoadedFeed(loader, STEPS), STEPS).read(7, 0, 3)) == [0, 1, 2]
    assert loader.passes == 1


def test_a_loader_is_iterated_again_where_an_epoch_begins():
    tape = Tape(LoadedFeed(Loader(2 * STEPS), STEPS), STEPS)
    assert numbers(tape.read(0, 0, STEPS)) == [0, 1, 2, 3, 4]
    assert numbers(tape.read(0, 5, STEPS)) == [5, 6, 7, 8, 9]
    assert numbers(tape.read(0, 10, 2)) == [100, 101]


def test_an_iterator_goes_on_from_epoch_to_epoch():
    tape = Tape(LoadedFeed(endless(), STEPS), STEPS)
    for first in (0, 4, 8):
        assert numbers(tape.read(0, first, 4)) == [first, first + 1, first + 2, first + 3]


def test_what_was_read_last_may_be_asked_for_again():
    """As where statistics are recomputed on the first batches of the epoch that comes."""
    tape = Tape(LoadedFeed(endless(), STEPS), STEPS)
    assert numbers(tape.read(0, 0, 5)) == [0, 1, 2, 3, 4]
    assert numbers(tape.read(0, 5, 3)) == [5, 6, 7]
    assert numbers(tape.read(0, 5, 2)) == [5, 6]
    assert numbers(tape.read(0, 7, 3)) == [7, 8, 9]


def test_tensors_are_read_as_numpy():
    class Tensor:
        def __init__(self, array):
            self.array = array

        def detach(self):
            return self

        def cpu(self):
            return self.array

    batches = [{name: Tensor(array) for name, array in batch(i).items()} for i in range(STEPS)]
    assert numbers(Tape(LoadedFeed(batches, STEPS), STEPS).read(0, 0, 3)) == [0, 1, 2]


def test_data_of_tf_are_read_as_numpy():
    class Dataset:
        def __iter__(self):
            raise AssertionError("tensors")

        def as_numpy_iterator(self):
            return iter([batch(i) for i in range(STEPS)])

    tape = Tape(LoadedFeed(Dataset(), STEPS), STEPS)
    assert numbers(tape.read(0, 0, 7)) == [0, 1, 2, 3, 4, 0, 1]


def test_batches_are_copied_in_the_dtypes_of_the_program():
    """A loader may use the memory of a batch again."""
    memory = {"x": np.zeros((2, 1)), "y": np.zeros(2, np.int64)}

    def reusing():
        for number in range(4):
            for array in memory.values():
                array[...] = number
            yield memory

    tape = Tape(LoadedFeed(reusing(), 4), 4)
    rows = tape.read(0, 0, 4)
    assert rows["x"].dtype == np.float32
    assert rows["y"].dtype == np.int32
    assert rows["y"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


# Where they stopped -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, bytes])
def test_a_position_is_taken_up(kind):
    tape = Tape(LoadedFeed(Stateful(kind), STEPS), STEPS)
    tape.read(0, 0, 7)
    kept = json.loads(json.dumps(tape.position()))
    expected = numbers(tape.read(0, 7, 4))
    again = Tape(LoadedFeed(Stateful(kind), STEPS), STEPS)
    again.go_to(kept)
    assert numbers(again.read(0, 7, 4)) == expected == [7, 8, 9, 10]


def test_a_position_is_that_of_what_was_read_and_not_of_what_was_looked_at():
    tape = Tape(LoadedFeed(Stateful(), STEPS), STEPS)
    tape.read(0, 0, 5)
    tape.read(0, 5, 4)
    tape.read(0, 5, 2)
    again = Tape(LoadedFeed(Stateful(), STEPS), STEPS)
    again.go_to(tape.position())
    assert numbers(again.read(0, 7, 2)) == [7, 8]
    assert numbers(tape.read(0, 6, 1)) == [6]
    assert tape.position()["batches"] <= 7


def test_a_loader_without_states_is_read_up_to_where_it_stopped():
    tape = Tape(LoadedFeed(endless(), STEPS), STEPS)
    assert tape.position() is None
    assert numbers(tape.read(0, 7, 2)) == [7, 8]


def test_what_can_go_back_is_read_from_the_beginning_again():
    for source in (Stateful(), [batch(i) for i in range(15)]):
        feed = LoadedFeed(source, STEPS)
        tape = Tape(feed, STEPS)
        assert feed.repeats
        assert numbers(tape.read(0, 6, 4)) == [6, 7, 8, 9]
        assert numbers(tape.read(0, 0, 2)) == [0, 1]
        assert numbers(tape.read(0, 12, 2)) == [12, 13]
        assert numbers(tape.read(0, 11, 1)) == [11]


def test_what_has_states_goes_back_to_the_nearest(monkeypatch):
    """As cohorts do whose refiner drops members, one after the other in each round."""
    monkeypatch.setattr("vtune.data.streams.tape.MOST", 4)
    source = Stateful()
    tape = Tape(LoadedFeed(source, STEPS), STEPS)
    for first in (0, 4, 8, 12, 16):
        tape.read(0, first, 4)
    before = source.given
    assert numbers(tape.read(0, 14, 1)) == [14]
    assert source.given - before == 3  # from 12 on
    assert numbers(tape.read(0, 5, 2)) == [5, 6]
    assert numbers(tape.read(0, 19, 2)) == [19, 20]


def test_a_loader_that_shuffles_begins_again_but_does_not_repeat():
    feed = LoadedFeed(Loader(), STEPS)
    tape = Tape(feed, STEPS)
    assert not feed.repeats
    tape.read(0, 0, 5)
    tape.read(0, 5, 3)
    assert numbers(tape.read(0, 0, 2)) == [200, 201]  # another run's first epoch


def test_what_cannot_go_back_says_so():
    tape = Tape(LoadedFeed(endless(), STEPS), STEPS)
    tape.read(0, 3, 4)
    says = (
        "epoch 0, batch 0 is asked for again, and the generator is at epoch 1, batch 2 and cannot"
    )
    with pytest.raises(ValueError, match=says):
        tape.read(0, 0, 1)


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"next_index": 3, "parts": [1, 2.5, (True, "a")], 4: {}},
        b"\x00\xff",
        {"key": np.arange(3, dtype=np.uint32), "count": np.int64(2)},
    ],
)
def test_states_are_kept_as_json(state):
    again = from_json(json.loads(json.dumps(to_json(state))))
    np.testing.assert_equal(again, state)


def test_a_state_that_cannot_be_kept_is_named():
    with pytest.raises(TypeError, match="holds a object, which a checkpoint cannot keep"):
        to_json({"a": [object()]})


def grain_loader(workers):
    from absl import flags
    from grain import python as grain

    flags.FLAGS.mark_as_parsed()  # grain asks for them where it starts processes
    sampler = grain.IndexSampler(40, shuffle=True, seed=1, shard_options=grain.NoSharding())
    operations = [grain.Batch(ROWS, drop_remainder=True)]
    return grain.DataLoader(
        data_source=Numbers(), sampler=sampler, operations=operations, worker_count=workers
    )


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_grain_loader_is_taken_up(workers):
    pytest.importorskip("grain")
    tape = Tape(LoadedFeed(grain_loader(workers), STEPS), STEPS)
    tape.read(0, 0, 7)
    kept = json.loads(json.dumps(tape.position()))
    expected = tape.read(0, 7, 10)["y"].tolist()
    again = Tape(LoadedFeed(grain_loader(workers), STEPS), STEPS)
    again.go_to(kept)
    assert again.read(0, 7, 10)["y"].tolist() == expected
    assert len(set(expected)) > 20


def test_data_sets_of_grain_are_taken_up():
    grain = pytest.importorskip("grain")
    shuffled = grain.MapDataset.source(Numbers()).seed(3).shuffle()
    for data in (shuffled.batch(8), shuffled.repeat().to_iter_dataset().batch(8)):
        tape = Tape(LoadedFeed(data, STEPS), STEPS)
        first = tape.read(0, 0, 7)["y"].tolist()
        kept = json.loads(json.dumps(tape.position()))
        expected = tape.read(0, 7, 6)["y"].tolist()
        again = Tape(LoadedFeed(data, STEPS), STEPS)
        again.go_to(kept)
        assert again.read(0, 7, 6)["y"].tolist() == expected
        assert sorted(first[:40]) == list(range(40))
        assert again.read(0, 0, 7)["y"].tolist() == first


# What goes wrong ------------------------------------------------------------------------------


def spoilt(at, other):
    """Batches of which one is another."""

    def make(seed, epoch):
        for number in range(STEPS):
            yield other if (epoch, number) == at else batch(number)

    return make


WRONG = {
    "entries": (
        {"x": batch(0)["x"]},
        ValueError,
        r"has the entries \['x'\], the first had \['x', 'y'\]; give every",
    ),
    "shape": ({**batch(0), "x": np.zeros((3, 5), np.float32)}, ValueError, r"float32\[3, 5\], in"),
    "dtype": (
        {**batch(0), "x": np.zeros((3, 2))},
        ValueError,
        r"float64\[3, 2\], in the first.*; let the .* alike",
    ),
    "rows": (
        {k: v[:2] for k, v in batch(0).items()},
        ValueError,
        r"\[2, 2\], in the first batch it was float32\[3, 2\]; let the pipeline drop the rows",
    ),
    "tuple": (tuple(batch(0).values()), TypeError, "is a tuple of 2, which does not say what"),
    "none": (None, TypeError, "the batch is a NoneType; let it be a dict"),
    "name": (
        {**batch(0), 3: np.zeros(3)},
        TypeError,
        "the name 3 of an entry is not a string; write '3'",
    ),
    "nan": ({**batch(0), "x": np.full((3, 2), np.nan, np.float32)}, ValueError, "'x' holds nan in"),
    "large": ({**batch(0), "y": np.full(3, 2**40)}, ValueError, "'y' goes from .* beyond int32"),
    "text": ({**batch(0), "y": np.array(["a"] * 3)}, TypeError, "entry 'y' is of type <U1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_batch_of_another_form_is_named_with_its_place(what):
    other, error, says = WRONG[what]
    tape = Tape(MadeFeed(spoilt((1, 3), other), STEPS), STEPS)
    tape.read(0, 0, 8)
    with pytest.raises(error, match=f"^epoch 1, batch 3: (.|\n)*{says}"):
        tape.read(0, 8, 2)


FIRST = {
    "list": (list(batch(0).values()), TypeError, "the batch is a list of 2"),
    "empty": ({}, ValueError, "the batch is empty"),
    "number": (
        {"x": 1.0},
        ValueError,
        r"'x' is a single number; its first axis .* as in .batch\(32\)",
    ),
    "lengths": ({"x": np.zeros(3), "y": np.zeros(4)}, ValueError, "rows, 1 or more; got {'x': 3,"),
    "no_rows": ({"x": np.zeros((0, 3))}, ValueError, "rows, 1 or more; got {'x': 0}"),
    "infinite": ({"x": np.array([1.0, np.inf])}, ValueError, "'x' holds inf in row 1; leave such"),
    "beyond": ({"x": np.array([1e300])}, ValueError, r"'x' holds 1e\+300 in row 0, beyond float32"),
}


@pytest.mark.parametrize("what", FIRST)
def test_a_first_batch_that_cannot_be_trained_on_is_named(what):
    other, error, says = FIRST[what]
    with pytest.raises(error, match=f"^stream: the first batch: .*{says}"):
        Tape(LoadedFeed([other], 1), 1)


def test_pipelines_that_end_early_are_named():
    short = Tape(MadeFeed(Factory(3), STEPS), STEPS)
    with pytest.raises(ValueError, match="epoch 0 ended after 3 of 5 batches; give as many as"):
        short.read(0, 0, 5)
    loader = Tape(LoadedFeed(Loader(7), STEPS), STEPS)
    with pytest.raises(ValueError, match="epoch 1 ended after 2 of 5 batches"):
        loader.read(0, 0, 8)
    once = Tape(LoadedFeed(iter([batch(i) for i in range(5)]), STEPS), STEPS)
    says = r"the list_iterator ended with epoch 0, and .* \(a loader, not iter\(loader\)\), let"
    with pytest.raises(ValueError, match=says):
        once.read(0, 0, 6)
    with pytest.raises(ValueError, match="epoch 0 ended after 0 of 5 batches"):
        Tape(LoadedFeed([], STEPS), STEPS)
    with pytest.raises(TypeError, match=r"batches\(0, 0\) returned a int; return an iterable"):
        Tape(MadeFeed(lambda seed, epoch: 3, STEPS), STEPS)
    with pytest.raises(
        TypeError, match=r"batches\(0, 0\) returned a dict, as one batch is; return"
    ):
        Tape(MadeFeed(lambda seed, epoch: batch(0), STEPS), STEPS)


# vt.stream ------------------------------------------------------------------------------------

VALID = {"x": np.arange(14, dtype=np.float32).reshape(7, 2), "y": np.arange(7)}


def test_a_stream_is_data_on_the_host():
    data = vt.stream(Factory(), STEPS, valid=VALID, test={k: v[:2] for k, v in VALID.items()})
    assert data.on_host
    assert data.repeats
    assert not data.folded
    assert data.batch_size == ROWS
    assert (data.train_rows, data.valid_rows, len(data.test)) == (STEPS * ROWS, 7, 2)
    assert data.steps_per_epoch(ROWS) == STEPS
    assert data.steps_by_fold(ROWS) is None
    row = {name: (leaf.shape, str(leaf.dtype)) for name, leaf in data.entries().items()}
    assert row == {"x": ((2,), "float32"), "y": ((), "int32")}
    assert data.row_bytes == 12
    assert repr(data) == (
        "Stream(x: float32[2], y: int32[]; 5 batches of 3 from a function, valid 7, test 2)"
    )


def test_a_stream_is_read_by_epochs_and_batches():
    data = vt.stream(Factory(), STEPS, valid=VALID)
    np.testing.assert_array_equal(data.read_first(ROWS)["x"], batch(0)["x"])
    read = data.read_training(2, 3, 1, 4, ROWS)
    assert numbers(read) == [20301, 20302, 20303, 20304]
    assert read["x"].dtype == np.float32
    assert read["y"].dtype == np.int32
    np.testing.assert_array_equal(read["x"][:, 0], read["y"])
    assert data.position() is None
    last = data.read_validation(1, 1, 4)  # filled up with the first rows
    assert last["y"].tolist() == [4, 5, 6, 0]
    np.testing.assert_array_equal(last["x"], VALID["x"][last["y"]])


def test_batches_of_an_object_are_those_of_any_seed_and_where_they_stand_is_kept():
    data = vt.stream(Stateful(), STEPS, valid=VALID)
    assert numbers(data.read_training(9, 0, 0, 5, ROWS)) == [0, 1, 2, 3, 4]
    assert numbers(data.read_training(9, 1, 0, 2, ROWS)) == [5, 6]
    again = vt.stream(Stateful(), STEPS, valid=VALID)
    again.go_to(json.loads(json.dumps(data.position())))
    assert numbers(again.read_training(9, 1, 2, 3, ROWS)) == [7, 8, 9]


def test_how_many_batches_an_epoch_has_is_the_length_of_what_has_one():
    batches = [batch(i) for i in range(6)]
    assert vt.stream(batches, valid=VALID).steps == 6
    assert vt.stream(batches, 3, valid=VALID).steps == 3

    class Endless(Loader):
        def __len__(self):
            return (2**63 - 1) // 32  # repeated without end, then batched

    assert vt.stream(Endless(), 4, valid=VALID).steps == 4
    with pytest.raises(ValueError, match="this Endless does not say how many batches an epoch has"):
        vt.stream(Endless(), valid=VALID)


BAD = {
    "no_steps": (lambda: vt.stream(Factory(), valid=VALID), ValueError, "a function does not say"),
    "zero": (lambda: vt.stream(Factory(), 0, valid=VALID), ValueError, "steps_per_epoch=0 must be"),
    "no_whole_epochs": (
        lambda: vt.stream([batch(0)] * 7, 3, valid=VALID),
        ValueError,
        "steps_per_epoch=3, and the list has 7 batches, which are no whole epochs; give 7 or",
    ),
    "nothing": (lambda: vt.stream([], valid=VALID), ValueError, "the list has no batches"),
    "arrays": (lambda: vt.stream(VALID, 3, valid=VALID), TypeError, "batches is a dict of arrays"),
    "number": (lambda: vt.stream(3, 3, valid=VALID), TypeError, "batches=3 gives no batches; give"),
    "one_argument": (
        lambda: vt.stream(lambda seed: [], 3, valid=VALID),
        TypeError,
        r"stream: batches must take the arguments \(seed, epoch\)",
    ),
    "no_valid": (lambda: vt.stream(Factory(), 3), TypeError, "stream: missing .*'valid'"),
    "other_valid": (
        lambda: vt.stream(Factory(), 3, valid={"x": VALID["x"]}),
        ValueError,
        r"the first batch has \['x', 'y'\], valid has \['x'\]; give both the same",
    ),
    "valid_batches": (
        lambda: vt.stream(Factory(), 3, valid=iter([VALID])),
        TypeError,
        r"stream: valid: list_iterator is no dict .*, and rows to score are a dict of arrays, or",
    ),
    "valid_rows": (
        lambda: vt.stream(Factory(), 3, valid={**VALID, "x": np.zeros((7, 5), np.float32)}),
        ValueError,
        r"'x' is float32\[2\] a row in the first batch and float32\[5\] in valid",
    ),
    "rows": (
        lambda: vt.stream(Factory(), 3, valid=VALID).rows(0, 0, 3),
        TypeError,
        "rows: the rows of a stream have no numbers",
    ),
    "order": (
        lambda: vt.stream(Factory(), 3, valid=VALID).order(0, 0),
        TypeError,
        "the rows of a stream have no numbers",
    ),
    "scaling": (
        lambda: vt.standardize(vt.stream(Factory(), 3, valid=VALID), "x"),
        TypeError,
        "standardize: the training rows of a stream are not known beforehand",
    ),
    "class_weights": (
        lambda: vt.class_weights(vt.stream(Factory(), 3, valid=VALID)),
        TypeError,
        "class_weights: the training rows of a stream are not known",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_stream_is_named(what):
    make, error, says = BAD[what]
    with pytest.raises(error, match=says):
        make()


def test_what_grain_needs_is_said():
    class UnparsedFlagAccessError(Exception):
        pass

    def batches(seed, epoch):
        raise UnparsedFlagAccessError("Trying to access flag before flags were parsed")

    with pytest.raises(RuntimeError, match=r"write absl.flags.FLAGS.mark_as_parsed\(\) before"):
        vt.stream(batches, 3, valid=VALID)


def test_the_batch_size_is_that_of_the_stream():
    data = vt.stream(Factory(), STEPS, valid=VALID)
    for asked in (None, ROWS):
        length = length_of(None, data, 4, None, asked)
        assert length[:3] == (ROWS, 4 * STEPS, STEPS)
    with pytest.raises(
        ValueError, match="batch_size=32, and the batches of the stream have 3 rows"
    ):
        length_of(None, data, 4, None, 32)
    assert length_of(None, vt.holdout(VALID_IN_PLENTY), 4, None, None).batch_size == 32


VALID_IN_PLENTY = {name: np.repeat(array, 10, axis=0) for name, array in VALID.items()}


LEARNER = quadratic()._replace(refresh=lambda key, h, x, batch, number: x, refresh_batches=1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"batch_size": 32},
            ValueError,
            "batch_size=32, and the batches of the stream have 3 rows",
        ),
        ({"batch_size": lambda h: 8}, ValueError, "batch_size=8, and the batches of the stream"),
        (
            {"cache_features": True},
            ValueError,
            "features of them all .* leave it out, and features .* once for each batch$",
        ),
        (
            {"refiner": vt.Halving()},
            ValueError,
            r"Stream\(.*from a generator.* gives each batch once, and 2 structures train one after",
        ),
        (
            {"steps": 12, "epochs": None, "rounds": 2},
            ValueError,
            "rounds end within epochs, where statistics are recomputed",
        ),
    ],
    ids=["size", "sizes", "features", "halving", "statistics"],
)
def test_what_a_stream_cannot_do_is_named_before_compiling(options, error, says, refused):
    data = vt.stream(endless(), STEPS, valid=VALID)
    space = {**LR, "epochs": vt.Categorical([2, 4])}
    with refused(error, says):
        vt.tune(LEARNER, space, data, **{"search": vt.Halton(8), "epochs": 4, **options})


QUADRATIC = quadratic()


def called(batches, steps):
    data = vt.stream(batches, steps, valid=VALID)
    given = TuneArguments(learner=QUADRATIC, space=LR, data=data, search=vt.Halton(2), steps=20)
    return call_of(prepare(given), None).asked


def test_another_stream_is_told_apart_where_a_run_is_taken_up():
    before = called(Factory(), STEPS)
    assert differences(before, called(Factory(), STEPS)) == []
    assert "steps_per_epoch: 4 here, 5 there" in differences(before, called(Factory(), 4))
    other = differences(before, called(endless(3), STEPS))
    assert "the first batch of the stream: something else" in other


def test_a_state_that_no_other_process_takes_up_is_said(tmp_path):
    class Addressed(Stateful):
        def get_state(self):
            return f'{{"next": {self.at}, "data_source": "{object()}"}}'.encode()

    data = vt.stream(Addressed(), STEPS, valid=VALID)
    with pytest.warns(
        UserWarning, match="runs/a: .* names <object object at 0x.* give the class a"
    ):
        warn_of_addresses("runs/a", data)
    for fine in (None, vt.holdout(VALID_IN_PLENTY), vt.stream(Stateful(), STEPS, valid=VALID)):
        warn_of_addresses("runs/a", fine)


def test_what_cannot_be_repeated_is_named():
    check_repeats("rerun", vt.stream(Factory(), STEPS, valid=VALID))
    check_repeats("rerun", None)
    with pytest.raises(ValueError, match=r"extend: .* from a generator, valid 7.*cannot be had"):
        check_repeats("extend", vt.stream(endless(), STEPS, valid=VALID))
