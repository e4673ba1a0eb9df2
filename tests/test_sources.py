"""Data on the host: what is read of every kind of source equals what data in memory hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sources import ROWS, Batches, Lists, Records, columns, of_tensors

import vtune as vt
from vtune.data import blocks, order
from vtune.data.statistics import statistics


def swapped(arrays):
    return {name: array.astype(array.dtype.newbyteorder()) for name, array in arrays.items()}


def mapped(arrays, folder):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}


def of_h5py(arrays, folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "data.h5", "w")
    return {name: file.create_dataset(name, data=array) for name, array in arrays.items()}


def of_zarr(arrays, folder):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "data.zarr"), mode="w")
    made = {}
    for name, array in arrays.items():
        chunks = (16, *array.shape[1:])
        made[name] = group.create_array(name, shape=array.shape, chunks=chunks, dtype=array.dtype)
        made[name][:] = array
    return made


def of_datasets(arrays, folder):
    datasets = pytest.importorskip("datasets")
    kinds = {k: datasets.Value(str(a.dtype)) for k, a in arrays.items() if a.ndim == 1}
    kinds["x"] = kinds["partly"] = [datasets.Value("float64")]
    kinds["image"] = datasets.Array2D((4, 2), "uint8")
    made = datasets.Dataset.from_dict(arrays, features=datasets.Features(kinds))
    return made.with_format("numpy")


def of_grain(arrays, folder):
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(Records(arrays))


KINDS = {
    "arrays": lambda arrays, folder: arrays,
    "lists": lambda arrays, folder: arrays | {"y": arrays["y"].tolist()},
    "swapped": lambda arrays, folder: swapped(arrays),
    "mapped": mapped,
    "h5py": of_h5py,
    "zarr": of_zarr,
    "records": lambda arrays, folder: Records(arrays),
    "batches": lambda arrays, folder: Batches(arrays),
    "getitems": lambda arrays, folder: Lists(arrays),
    "tensors": lambda arrays, folder: of_tensors(Records)(arrays),
    "batches of tensors": lambda arrays, folder: of_tensors(Batches)(arrays),
    "datasets": of_datasets,
    "grain": of_grain,
}
UNEQUAL = [(np.arange(30, 120), np.arange(30)), (np.arange(50), np.arange(50, 90))]
SCALERS = {
    "plain": lambda data: data,
    "standardize": lambda data: vt.standardize(data, "x", "image", "partly"),
    "min_max": lambda data: vt.min_max_scale(data, "x", "image", "partly", low=-1),
}


def check_same(memory, host):
    assert memory.keys() == host.keys()
    for name, values in memory.items():
        values = np.asarray(values)
        assert type(host[name]) is np.ndarray
        assert (host[name].dtype, host[name].shape) == (values.dtype, values.shape)
        assert host[name].tobytes() == values.tobytes(), name


def check_data(memory, host):
    """Compares all that is read of data without folds, and how they say what they are."""
    np.testing.assert_array_equal(host.train, memory.train)
    np.testing.assert_array_equal(host.valid, memory.valid)
    rows = memory.rows(3, 2, 7)
    np.testing.assert_array_equal(host.rows(3, 2, 7), rows)
    check_same(memory.take(rows), host.take(host.rows(3, 2, 7)))
    check_same(memory.take(rows[1:4].reshape(-1)), host.read_training(3, 2, 1, 3, 7))
    past = jnp.minimum(jnp.arange(len(rows) - 1, len(rows) + 2), len(rows) - 1)
    check_same(memory.take(rows[past].reshape(-1)), host.read_training(3, 2, len(rows) - 1, 3, 7))
    check_same(memory.take(memory.first_rows(7)), host.read_first(7))
    index, _ = memory.evaluation(10)
    check_same(memory.take(index[1:].reshape(-1)), host.read_validation(1, len(index) - 1, 10))
    for name, row in host.entries().items():
        array = memory.arrays[name]
        assert (row.shape, row.dtype) == (array.shape[1:], array.dtype)
    assert host.row_bytes == memory.row_bytes
    check_same(memory.scale({"x": columns()["x"]}), host.scale({"x": columns()["x"]}))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_of_a_source_is_what_memory_holds(kind, tmp_path):
    source = KINDS[kind](columns(), tmp_path)
    arrays = source[:] if kind == "datasets" else columns()  # has int64 and float32 of its own
    memory = vt.holdout(arrays, 0.3, seed=4, stratify="y", test=0.1)
    host = vt.holdout(source, 0.3, seed=4, stratify="y", test=0.1, on="host")
    assert host.on_host
    assert not memory.on_host
    check_data(memory, host)
    np.testing.assert_array_equal(host.test, memory.test)
    check_data(memory.scored_on(memory.test), host.scored_on(host.test))
    check_data(vt.standardize(memory, "x"), vt.standardize(host, "x"))
    again = vt.holdout(source, 0.3, seed=4, stratify="y", on="device")  # reads all
    assert not again.on_host
    check_same(again.arrays, {name: np.asarray(a) for name, a in memory.arrays.items()})


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("block", [2**20, 32])
def test_scaling_has_the_bits_of_memory(scaler, block, monkeypatch):
    monkeypatch.setattr(blocks, "_NUMBERS", block)
    memory, host = (SCALERS[scaler](vt.holdout(columns(), on=on)) for on in ("device", "host"))
    check_data(memory, host)
    for name, parts in memory.scaling.items():
        np.testing.assert_array_equal(parts, host.scaling[name])


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("folds", ["equal", "unequal"])
def test_folds_have_the_bits_of_memory(folds, scaler):
    k = 3 if folds == "equal" else UNEQUAL
    memory, host = (SCALERS[scaler](vt.kfold(columns(), k, on=on)) for on in ("device", "host"))
    count, epoch = memory.folds, np.arange(memory.folds) + 1
    rows = memory.rows(3, epoch, 7)
    np.testing.assert_array_equal(host.rows(3, epoch, 7), rows)
    gathered = lambda rows: {k: jnp.take(a, rows, axis=0) for k, a in memory.arrays.items()}
    first = np.arange(count)
    places = (first[:, None] + np.arange(2))[..., None]
    taken = jnp.take_along_axis(rows, places, axis=1, mode="clip").reshape(count, -1)
    check_same(gathered(taken), host.read_training(3, epoch, first, 2, 7))
    check_same(gathered(memory.first_rows(5)), host.read_first(5))
    index, _ = memory.evaluation(16)
    wanted = jnp.moveaxis(index, 0, 1).reshape(count, -1)
    check_same(gathered(wanted), host.read_validation(0, len(index), 16))
    both = memory.take(rows), host.take(rows)
    check_same(*({name: np.asarray(a) for name, a in part.items()} for part in both))
    np.testing.assert_array_equal(memory.fold(1)[0], host.fold(1)[0])
    for name, parts in memory.scaling.items():
        np.testing.assert_array_equal(parts, host.scaling[name])
    assert memory.centers.keys() == host.centers.keys()


def test_many_rows_are_shuffled_place_by_place(monkeypatch):
    monkeypatch.setattr(order, "LIMIT", 60)
    check_data(*(vt.holdout(columns(), on=on) for on in ("device", "host")))
    memory, host = (vt.kfold(columns(), UNEQUAL, on=on) for on in ("device", "host"))
    epoch = np.array([1, 4])
    np.testing.assert_array_equal(host.rows(3, epoch, 7), memory.rows(3, epoch, 7))


def test_statistics_of_blocks_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(blocks, "_NUMBERS", 30)
    values = columns()["x"]
    parts = [np.arange(ROWS), np.array([3, 99, 3, 57]), np.arange(40, 50)]
    for part, found in zip(parts, statistics(values.__getitem__, values.shape, parts), strict=True):
        own = values[part]
        assert found.rows == len(part)
        np.testing.assert_allclose(found.mean, own.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(found.spread, own.std(axis=0), rtol=1e-9, atol=1e-15)
        np.testing.assert_array_equal(found.least, own.min(axis=0))
        np.testing.assert_array_equal(found.most, own.max(axis=0))


def test_sets_of_several_kinds_are_joined_without_a_copy(tmp_path):
    train, valid, test = (columns(rows, seed) for seed, rows in enumerate((60, 30, 20)))
    memory = vt.standardize(vt.from_splits(train, valid, test), "x")
    sets = Records(train), valid, mapped(test, tmp_path)
    host = vt.standardize(vt.from_splits(*sets, on="host"), "x")
    check_data(memory, host)
    check_data(memory.scored_on(memory.test), host.scored_on(host.test))
    valid["w"][3] = 5  # a reference
    assert host.take(np.array([63]))["w"] == 5


def test_sets_of_unlike_dtypes_are_joined_as_in_memory():
    train, valid = columns(60), columns(30, 1)
    train |= {"x": train["x"].astype(np.float32), "y": train["y"].astype(np.int32)}
    memory, host = (vt.from_splits(train, valid, on=on) for on in ("device", "host"))
    check_data(memory, host)
    check_data(vt.standardize(memory, "x"), vt.standardize(host, "x"))


def test_seeds_of_32_bits_and_pytrees():
    memory, host = (vt.holdout(columns(), on=on) for on in ("device", "host"))
    for seed in (2**31, 2**32 - 1):
        np.testing.assert_array_equal(host.rows(seed, 1, 8), memory.rows(seed, 1, 8))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(host)} == {1}  # shapes of a window of a row
    assert repr(host).startswith(
        "Data(on the host; x: float32[120, 3], partly: float32[120, 3], image: uint8[120, 4, 2]"
    )
    assert repr(vt.kfold(columns(), 3, on="host")).startswith("Folds(on the host; x: float32")
