"""What is wrong with a source, or with what it gives, is named; and how much memory data take."""

import logging
import tracemalloc
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from sources import Batches, Lists, Records, columns

import vtune as vt
from vtune import free_memory
from vtune.data.looks import looked_at, losses
from vtune.learner.protocol import Learner
from vtune.results.fingerprint import data_difference, data_fingerprint
from vtune.runtime import check_weights
from vtune.runtime.check_ranges import check_ranges
from vtune.tuning.checkpoints.call import differences
from vtune.tuning.hints import LOSSY
from vtune.xla.lookup_values import Entry, Lookup

ROWS = np.arange(40)
HALVES = slice(30), slice(30, 50)


def arrays_of(x, w):
    return [("w", w), ("x", x)]


def rows_of(change, row=7, kind=Records, count=40):
    """A source, one of whose records is another."""

    class Changed(kind):
        def __getitem__(self, number):
            if isinstance(number, int) and number == row:
                return change(Records.__getitem__(self, number))
            return kind.__getitem__(self, number)

        def __getitems__(self, numbers):
            return [self[number] for number in numbers]

    return Changed(columns(count))


def fails(record):
    raise OSError("disk on fire")


def with_one(value, dtype=np.float64, row=7):
    """An entry that has a bad row."""
    values = np.ones((40, 5), dtype)
    values[row] = value
    return {"x": values}


READS = {  # a source that can be opened -> the error of the row that is read
    "raises": (lambda: rows_of(fails), OSError, "disk on fire"),
    "shape": (
        lambda: rows_of(lambda r: r | {"x": r["x"][:2]}),
        ValueError,
        r"row 7: 'x' is float64\[2\], in row 0 it is float64\[3\]; make all rows alike",
    ),
    "dtype": (
        lambda: rows_of(lambda r: r | {"y": float(r["y"])}),
        ValueError,
        r"row 7: 'y' is float64\[\], in row 0 it is int64\[\]",
    ),
    "missing": (
        lambda: rows_of(lambda r: {"x": r["x"]}),
        ValueError,
        r"row 7 has \['x'\], and row 0 has 'partly'; give all rows the same entries",
    ),
    "none": (
        lambda: rows_of(lambda r: None),
        ValueError,
        r"row 7 is a NoneType, and row 0 has 'x'",
    ),
    "nan": (
        lambda: with_one(np.nan),
        ValueError,
        r"'x' holds nan in row 7; fill or drop such rows before",
    ),
    "bfloat16": (
        lambda: with_one(np.inf, jax.numpy.bfloat16),
        ValueError,
        "'x' holds inf in row 7; fill",
    ),
    "large": (
        lambda: with_one(1e60),
        ValueError,
        r"'x' holds 1e\+60 in row 7, beyond float32; scale it or set jax_enable_x64",
    ),
    "long": (
        lambda: with_one(2**40, np.int64),
        ValueError,
        r"'x' holds 1.09951e\+12 in row 7, beyond int32; scale it",
    ),
}


@pytest.mark.parametrize("case", READS)
def test_a_bad_row_is_named_where_it_is_read(case):
    make, error, says = READS[case]
    data = vt.holdout(make(), on="host")
    with pytest.raises(error, match=says):
        data.read(ROWS)
    with pytest.raises(error, match=says):
        data.read(ROWS[::-1])


def test_a_batch_with_a_bad_row_is_taken_apart():
    class Ragged(Batches):
        def __getitem__(self, row):
            found = Batches.__getitem__(self, row)
            if isinstance(row, list) and 7 in row:
                found["x"] = [a[:2] if i == 7 else a for i, a in zip(row, found["x"], strict=True)]
            return found

    class Short(Batches):
        def __getitem__(self, row):
            found = Batches.__getitem__(self, row)
            return {k: a[:-1] for k, a in found.items()} if 7 in np.ravel(row) else found

    class Missing(Batches):
        def __getitem__(self, row):
            found = Batches.__getitem__(self, row)
            if 7 in np.ravel(row):  # as of Hugging Face: one None makes the column's numbers floats
                found["y"] = None if row == 7 else found["y"] * 1.0
            return found

    with pytest.raises(ValueError, match=r"row 7: 'y' is missing \(None\); fill or drop such rows"):
        vt.holdout(Missing(columns(40)), on="host").read(ROWS)
    with pytest.raises(
        ValueError, match=r"row 7: 'x' is float64\[2\], in row 0 it is float64\[3\]"
    ):
        vt.holdout(Ragged(columns(40)), on="host").read(ROWS)
    with pytest.raises(ValueError, match=r"rows 6 to 8: 'x' is float64\[2, 3\], .* must hold what"):
        vt.holdout(Short(columns(40)), on="host").read(ROWS[6:9])


def test_a_row_of_a_set_is_named_with_the_set():
    valid = columns(20, 1)
    valid["x"][5] = np.inf
    data = vt.from_splits(columns(40), valid, on="host")
    with pytest.raises(ValueError, match="'x' holds inf in row 5 of valid"):
        data.read_validation(0, 1, 20)


class Format(Records):
    format = {"type": "torch"}  # noqa: RUF012

    def with_format(self, kind):
        raise NotImplementedError


def endless():
    return pytest.importorskip("grain").MapDataset.source(Records(columns())).repeat()


class Tuples(Records):
    def __getitem__(self, row):
        return tuple(Records.__getitem__(self, row).values())


class Unending:
    def __getitem__(self, row):
        return {"x": row}


class Group(Records):
    """Arrays by name, as a group of zarr's has them."""

    def __init__(self):
        super().__init__(columns())

    def keys(self):
        return self.arrays.keys()


OPENED = {
    "on": (lambda: vt.holdout(columns(), on="disk"), ValueError, r"holdout: on='disk' must be"),
    "on_of_folds": (lambda: vt.kfold(columns(), on=True), ValueError, r"kfold: on=True must be"),
    "on_of_splits": (
        lambda: vt.from_splits(columns(), columns(), on="gpu"),
        ValueError,
        r'from_splits: on=\'gpu\' must be "device", "host", or None',
    ),
    "format": (
        lambda: vt.holdout(Format(columns()), on="host"),
        TypeError,
        r"""holdout: the Format gives rows in the format 'torch'; write dataset.with_format""",
    ),
    "tuples": (
        lambda: vt.kfold(Tuples(columns()), 3, on="device"),
        TypeError,
        r"kfold: the rows of the Tuples are tuples of 5, which do not say what is what; let them",
    ),
    "numbers": (
        lambda: vt.holdout(rows_of(lambda r: 3, 0), on="host"),
        TypeError,
        r"holdout: the rows of the Changed are of type int; let them be a dict of arrays",
    ),
    "nothing": (
        lambda: vt.holdout(rows_of(lambda r: {}, 0), on="host"),
        ValueError,
        "holdout: the rows of the Changed are empty",
    ),
    "no_rows": (
        lambda: vt.holdout(Records(columns(0))),
        ValueError,
        "holdout: the Records is empty",
    ),
    "no_end": (
        lambda: vt.holdout(endless(), on="host"),
        ValueError,
        r"holdout: the RepeatMapDataset has no end; leave repeat\(\) out",
    ),
    "iterated": (
        lambda: vt.holdout(iter([{"x": np.zeros(3)}])),
        TypeError,
        r"holdout: list_iterator is no dict of arrays and .*, write vt.stream\(...\),",
    ),
    "no_length": (
        lambda: vt.holdout(Unending(), on="host"),
        TypeError,
        r"Unending is not a dict such as .*; a source that gives rows by .* has __len__, too",
    ),
    "parts": (
        lambda: vt.holdout({"train": Records(columns()), "valid": Records(columns())}, on="host"),
        TypeError,
        r"holdout: 'train' holds records; a source of records stands in the place .* are vt.from_s",
    ),
    "group": (
        lambda: vt.holdout(Group(), on="host"),
        TypeError,
        r"holdout: the Group has entries by name and is no dict; write {name: group\[name\] for",
    ),
    "text": (
        lambda: vt.holdout(rows_of(lambda r: r | {"name": "cat"}, 0), on="host"),
        TypeError,
        "entry 'name' is of the type str; entries are numeric .*; or leave 'name' out of the rows",
    ),
    "lengths": (
        lambda: vt.holdout({"x": np.zeros((4, 2)), "y": np.zeros(5)}, on="host"),
        ValueError,
        r"holdout: the arrays have different lengths, {'x': 4, 'y': 5}",
    ),
    "empty_rows": (
        lambda: vt.holdout({"x": np.zeros((4, 0))}, on="host"),
        ValueError,
        r"'x' has shape \[4, 0\], so its rows hold nothing",
    ),
    "scalar": (lambda: vt.holdout({"x": 3.0}, on="host"), ValueError, "'x' is a single number"),
    "name": (lambda: vt.holdout({3: np.zeros(4)}, on="host"), TypeError, "the name 3 of an entry"),
    "small": (
        lambda: vt.holdout({"y": with_one(np.nan)["x"][:, 0]}, on="host"),
        ValueError,
        "holdout: 'y' holds nan in row 7",
    ),
    "unlike": (
        lambda: vt.from_splits(columns(), columns() | {"w": np.zeros(120, int)}, on="host"),
        ValueError,
        r"from_splits: 'w' is float32\[\] a row in train and int32\[\] in valid; make them alike",
    ),
    "array": (
        lambda: np.asarray(vt.holdout(columns(), on="host").arrays["x"]),
        TypeError,
        r"'x' lies on the host and is read by rows: .*; write on=\"device\" where",
    ),
}


@pytest.mark.parametrize("case", OPENED)
def test_what_cannot_be_opened_is_named(case):
    make, error, says = OPENED[case]
    with pytest.raises(error, match=says):
        make()


def test_data_stay_on_the_host_where_they_are_more_than_half_of_what_is_free(monkeypatch, caplog):
    arrays = {"x": np.zeros((100, 25)), "y": np.zeros(100, int)}  # 10,400 bytes as JAX has them
    caplog.set_level(logging.INFO, "vtune")
    for free, host in ((20_799, True), (20_800, False), (None, False)):
        monkeypatch.setattr(free_memory, "free_bytes", lambda free=free: free)
        caplog.clear()
        sets = arrays, {k: a[:50] for k, a in arrays.items()}
        assert vt.holdout(arrays).on_host is host
        assert vt.holdout(Records(arrays)).on_host is host
        assert vt.kfold(arrays, 3).on_host is host
        assert vt.from_splits(*sets).on_host is (free is not None)
        said = [record.message for record in caplog.records]
        assert bool(said) is (free is not None)
        assert all("vtune: the data stay on the host: they take" in line for line in said)
        assert not vt.holdout(arrays, on="device").on_host


def test_a_source_is_asked_for_several_rows_at_once_where_it_gives_them():
    for kind, calls in ((Batches, 1), (Lists, 1), (Records, 3)):
        source = kind(columns())
        data = vt.holdout(source, on="host")
        source.asked.clear()
        data.read(np.array([9, 2, 9, 5]))
        assert len(source.asked) == calls
        np.testing.assert_array_equal(np.ravel(source.asked), [2, 5, 9])


def test_checks_look_at_small_entries_whole_and_at_some_rows_of_others():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, (5000, 9))
    y = rng.integers(0, 2, 5000)
    y[1234] = 7
    data = vt.holdout({"ids": ids, "y": y}, on="host")
    seen = looked_at(data)
    assert set(seen["y"]) == {0, 1, 7}
    assert 1000 < len(seen["ids"]) < 3100
    assert looked_at(data) is seen  # read once
    whole = looked_at(vt.holdout({"ids": ids, "y": y}))
    assert len(whole["ids"]) == 5000
    records = looked_at(vt.holdout(Records({"x": ids, "y": y}), on="host"))
    assert set(records["y"]) <= {0, 1, 7}


def test_numbers_out_of_range_are_found_in_rows_on_the_host():
    ids = np.zeros((5000, 9), int)  # of which some rows are looked at
    labels = np.zeros(5000, int)
    labels[1234] = 7  # all labels are
    data = vt.holdout({"ids": ids + 4, "y": labels}, on="host")
    with pytest.raises(ValueError, match=r"batch\['y'\] runs from 0 to 7"):
        check_ranges([{Lookup(Entry("y"), 3, (3,), "nan"): True}], data)
    with pytest.raises(ValueError, match=r"batch\['ids'\] runs from 4 to 4"):
        check_ranges([{Lookup(Entry("ids"), 3, (3,), "nan"): True}], data)
    check_ranges([{Lookup(Entry("y"), 8, (8,), "nan"): True}], data)


@pytest.mark.parametrize("on", ["device", "host"])
def test_weights_of_rows_on_the_host_are_looked_at(on, monkeypatch):
    monkeypatch.setattr(check_weights, "BLOCK", 16)
    x, w = np.zeros((50, 3), np.float32), np.ones(50, np.float32)
    w[33] = -2
    weigh = lambda h, outputs, batch, train: {"loss": batch["w"] * (2 if train else 1)}
    learner = Learner(None, None, None, None, weights=weigh)
    batch = {name: jax.ShapeDtypeStruct((5, *a.shape[1:]), a.dtype) for name, a in arrays_of(x, w)}
    outputs = jax.ShapeDtypeStruct((5, 2), np.float32)
    data = vt.from_splits(*(dict(arrays_of(x[part], w[part])) for part in HALVES), on=on)
    found = check_weights.weighings(learner, {}, outputs, batch, data)
    with pytest.raises(ValueError, match="loss gives row 33 of the data the weight -2; weights"):
        check_weights.check_weights([found], data)
    w[:] = 0
    w[:30] = 1
    data = vt.from_splits(*(dict(arrays_of(x[part], w[part])) for part in HALVES), on=on)
    with pytest.raises(ValueError, match="loss gives all 20 validation rows the weight 0"):
        check_weights.check_weights([found], data)


def test_what_a_cast_takes_away_is_seen_on_the_host():
    lossy = lambda data: [
        found.name for found in losses(data) if np.any(found.away > LOSSY * found.spread)
    ]
    arrays = {"x": np.linspace(1e9, 1e9 + 1, 40)[:, None] * np.ones(3), "z": columns(40)["x"]}
    assert lossy(vt.holdout(arrays)) == ["x"]
    host = vt.holdout(arrays, on="host")
    assert lossy(host) == ["x"]
    assert not lossy(vt.standardize(host, "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for beyond in (1e60, np.inf, np.nan):  # has an error of its own
            assert not lossy(vt.holdout(with_one(beyond), on="host"))
        host = vt.holdout({"x": np.geomspace(1e290, 1e300, 40)[:, None] * np.ones(5)}, on="host")
        with pytest.raises(ValueError, match="beyond float32; scale it"):
            vt.standardize(host, "x").read(ROWS)


def test_class_weights_of_labels_on_the_host():
    of = {on: vt.class_weights(vt.holdout(columns(), on=on)) for on in ("device", "host")}
    np.testing.assert_array_equal(of["device"], of["host"])


def file_pages():
    """Bytes of mapped files that this process holds in memory."""
    status = Path("/proc/self/status")
    if not status.exists() or "RssFile" not in status.read_text():
        pytest.skip("needs Linux")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_pages_of_a_mapped_file_are_given_back(tmp_path, mode):
    rows, file = 2**17, tmp_path / "x.npy"
    written = np.lib.format.open_memmap(file, "w+", np.float32, (rows, 128))  # 64 MiB
    written[:] = np.arange(rows, dtype=np.float32)[:, None]
    del written
    x = np.load(file, mmap_mode=mode)
    data = vt.holdout({"x": x, "y": np.zeros(rows, np.int32)}, on="host")
    if mode == "c":
        x[data.train[0]] = -1  # is in no file
    before = file_pages()
    for first in range(0, data.steps_per_epoch(4096)):
        data.read_training(0, 0, first, 1, 4096)
    grown = file_pages() - before
    assert (grown > 2**25) is (mode == "c"), grown  # code is mapped from files, too
    read = data.read_first(2)["x"][:, 0]
    np.testing.assert_array_equal(read, [-1 if mode == "c" else data.train[0], data.train[1]])


def test_no_copy_is_made_on_the_host_and_one_on_the_device():
    x = np.ones((2**14, 1024), np.float32)  # 64 MiB
    arrays = {"x": x, "y": np.zeros(len(x), np.int32)}

    def peak(make):
        tracemalloc.start()
        try:
            made = make()
            return made, tracemalloc.get_traced_memory()[1] / x.nbytes
        finally:
            tracemalloc.stop()

    for make in (vt.holdout, lambda arrays, on: vt.kfold(arrays, 3, on=on)):
        host, taken = peak(lambda make=make: make(arrays, on="host"))
        assert taken < 0.1
        assert peak(lambda host=host: vt.standardize(host, "x"))[1] < 1.2  # blocks of 8 MiB
        device, taken = peak(lambda make=make: make(arrays, on="device"))
        assert taken < 1.1
        assert peak(lambda device=device: vt.standardize(device, "x"))[1] < 2.2
    half = {k: a[: len(a) // 2] for k, a in arrays.items()}
    assert peak(lambda: vt.from_splits(half, half, on="host"))[1] < 0.1


def check_in_checkpoints(memory, host, changed):
    """Data in memory by all numbers, others by those of some rows; older files say the first."""
    calls = lambda arrays: {f"data[{name!r}]": entry for name, entry in arrays.items()}
    older = {k: {s: v for s, v in e.items() if s != "sample"} for k, e in memory.items()}
    another = {k: {**entry, "sha256": "another"} for k, entry in memory.items()}
    for before, now in ((memory, host), (host, memory), (older, memory)):
        assert not differences(calls(before), calls(now))
    for before, now in ((changed, host), (memory, changed), (another, memory), (older, host)):
        assert differences(calls(before), calls(now))


def test_fingerprints_on_the_host_and_in_memory_are_compared():
    arrays = {k: np.tile(a, (30, *[1] * (a.ndim - 1))) for k, a in columns().items()}
    other = arrays | {"w": arrays["w"].copy()}
    other["w"][-1] += 1  # one of the rows that stand for all
    for change in (lambda data: data, lambda data: vt.standardize(data, "x")):
        make = lambda arrays, on, change=change: change(vt.holdout(arrays, seed=1, on=on))
        memory, host = (data_fingerprint(make(arrays, on)) for on in ("device", "host"))
        changed = data_fingerprint(make(other, "host"))
        for a, b in ((memory, host), (host, memory)):
            assert data_difference(a, b) is None
        for known in (memory, host):
            assert data_difference(known, changed) == "'w' has other values"
            assert data_difference(changed, known) == "'w' has other values"
        assert data_difference(host, data_fingerprint(vt.holdout(arrays, seed=2, on="host")))
        check_in_checkpoints(memory["arrays"], host["arrays"], changed["arrays"])
        assert host["arrays"]["x"].get("probes") == memory["arrays"]["x"].get("probes")
