"""Sweeps on the batches of a pipeline: each once, in order, and again where that can be."""

import itertools

import jax
import numpy as np
import pytest
from problems import LR, recorder
from record_source import Ids
from solo import largest_difference
from test_streams import Stateful

import vtune as vt

STEPS, ROWS, MOST = 5, 4, 30
RECORDER = recorder(MOST, ROWS)
VALID = {"x": np.arange(4, dtype=np.int32)}


def batch(number):
    return {"x": np.full(ROWS, number, np.int32)}


def factory(seed, epoch):
    for number in range(STEPS):
        yield batch(seed * 1000 + epoch * 100 + number)


def endless():
    number = 0
    while True:
        yield batch(number)
        number += 1


class Counter(Stateful):
    def __next__(self):
        return {"x": super().__next__()["y"].astype(np.int32).repeat(2)[:ROWS]}


def tune(batches, *, learner=RECORDER, space=LR, **options):
    data = vt.stream(batches, STEPS, valid=VALID)
    options = {"search": vt.Halton(2), "metric": "rows", "mode": "max", "seed": 2, **options}
    return vt.tune(learner, space, data, **options)


def seen(member, name="seen"):
    """The numbers of the batches that a member was trained on."""
    rows = np.asarray(jax.device_get(member.variables)[name])
    assert (rows == rows[:, :1]).all()
    return [int(number) for number in rows[:, 0] if number >= 0]


@pytest.mark.parametrize(
    "length", [{"epochs": 3}, {"steps": 15, "rounds": 1}, {"steps": 17, "rounds": 3}], ids=str
)
def test_all_members_take_the_batches_of_their_epochs(length):
    steps = length.get("steps", 15)
    expected = [2000 + 100 * epoch + number for epoch in range(4) for number in range(STEPS)]
    for member in tune(factory, **length):
        assert seen(member) == expected[:steps]
    for batches in (endless(), Counter()):
        assert seen(tune(batches, **length)[1]) == list(range(steps))


def test_who_looks_ahead_takes_no_batch_away():
    """Statistics are recomputed on the first batches of the epoch that comes."""

    class Endless:
        def __iter__(self):
            return endless()

    sweep = tune(Endless(), learner=recorder(MOST, ROWS, refresh_batches=2), epochs=4)
    assert seen(sweep[0]) == list(range(20))
    assert seen(sweep[0], "refreshed") == [20, 21]


@pytest.mark.parametrize("batches", [factory, Counter()], ids=["function", "states"])
def test_several_structures_take_the_same_batches_where_members_are_dropped(batches):
    space = {**LR, "width": vt.Categorical([1, 2])}
    sweep = tune(batches, space=space, search=vt.Halton(8), refiner=vt.Halving(), epochs=4)
    last = [member for member in sweep if not member.status.startswith("dropped")]
    assert {member.hparams["width"] for member in last} == {1, 2}
    assert all(seen(member) == seen(last[0]) for member in last)
    assert len(set(seen(last[0]))) == 20


def test_what_can_be_had_again_is_trained_on_again():
    for batches in (factory, Counter()):
        sweep = tune(batches, epochs=2)
        assert largest_difference(sweep.rerun(1).variables, sweep[1].variables) == 0
        again = sweep.retrain(top=1, seeds=1, seed=3).sweep[0]
        assert seen(again) == [n + 1000 * (batches is factory) for n in seen(sweep[0])]
        longer = vt.extend(sweep, epochs=2)
        assert seen(longer[0])[:10] == seen(sweep[0])
        assert len(set(seen(longer[0]))) == 20


def test_what_cannot_be_had_again_is_refused(refused):
    sweep = tune(endless(), epochs=2)
    for again in (
        lambda: sweep.rerun(0),
        lambda: sweep.retrain(top=1, seeds=2),
        lambda: vt.extend(sweep, epochs=1),
    ):
        with refused(ValueError, "from a generator, valid 4.*, whose batches cannot be had again"):
            again()


def test_a_sweep_begins_with_the_first_batch(tmp_path, refused):
    data = vt.stream(endless(), STEPS, valid=VALID)
    options = {"search": vt.Halton(2), "metric": "rows", "mode": "max", "steps": 17, "rounds": 3}
    vt.tune(RECORDER, LR, data, **options)
    says = "5 batches of 4 from a generator, valid 4.* was read before, and the generator cannot go"
    with refused(ValueError, says):
        vt.tune(RECORDER, LR, data, **options)
    data, kept = vt.stream(endless(), STEPS, valid=VALID), {"checkpoint": tmp_path / "run"}
    vt.tune(RECORDER, LR, data, **options, **kept, callbacks=[stopping(1)])
    assert seen(vt.tune(RECORDER, LR, data, **options, **kept)[0]) == list(range(17))
    data = vt.stream(Counter(), STEPS, valid=VALID)
    one, other = (vt.tune(RECORDER, LR, data, **options) for _ in range(2))
    assert seen(one[0]) == seen(other[0])


def test_what_comes_after_the_last_epoch_is_not_asked_of_a_generator(refused):
    options = {"learner": recorder(MOST, ROWS, refresh_batches=2), "epochs": 2}
    exactly = itertools.islice(endless(), 2 * STEPS)
    says = r"recomputed on the first 2 batches of the epoch after .*; give vt.stream a function"
    with refused(ValueError, says):
        tune(exactly, **options)
    sweep = tune([batch(number) for number in range(STEPS)], **options)
    assert seen(sweep[0], "refreshed") == [0, 1]


def test_generations_train_on_the_same_batches(refused):
    optuna = pytest.importorskip("optuna")
    how = vt.Generations(optuna.samplers.RandomSampler(seed=1), size=2, generations=2)
    with refused(ValueError, "gives each batch once, and 2 generations train on the same"):
        tune(endless(), search=how, epochs=2)


def stopping(after):
    return lambda report: vt.STOP if after is not None and report.stop >= after else None


@pytest.mark.parametrize(
    "batches", [lambda: factory, Counter, endless], ids=["f", "states", "none"]
)
def test_a_run_is_taken_up_within_an_epoch(batches, tmp_path):
    """By another process, whose stream is another object: 17 steps in rounds of 2 or 3."""
    options = {"steps": 17, "rounds": 7}
    whole = tune(batches(), **options)
    part = tune(batches(), **options, checkpoint=tmp_path / "run", callbacks=[stopping(3)])
    assert len(seen(part[0])) % STEPS
    last = tune(batches(), **options, checkpoint=tmp_path / "run")
    for one, other in zip(last, whole, strict=True):
        assert seen(one) == seen(other)
        assert one.history["train/loss"].tolist() == other.history["train/loss"].tolist()


@pytest.mark.slow
def test_a_grain_loader_with_two_workers_is_taken_up_within_an_epoch(tmp_path):
    pytest.importorskip("grain")
    from absl import flags
    from grain import python as grain

    flags.FLAGS.mark_as_parsed()

    def loader():
        return grain.DataLoader(
            data_source=Ids(),
            sampler=grain.IndexSampler(40, grain.NoSharding(), shuffle=True, seed=1),
            operations=[grain.Batch(ROWS, drop_remainder=True)],
            worker_count=2,
        )

    def rows(sweep):
        return np.asarray(jax.device_get(sweep[1].variables)["seen"])

    options = {"steps": 17, "rounds": 7}
    whole = tune(loader(), **options)
    tune(loader(), **options, checkpoint=tmp_path / "run", callbacks=[stopping(3)])
    last = tune(loader(), **options, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(rows(last), rows(whole))
    assert len(np.unique(rows(whole))) == 41  # all forty, and none


def test_another_stream_is_not_taken_up(tmp_path, refused):
    options = {"epochs": 3, "checkpoint": tmp_path / "run"}
    tune(factory, **options, callbacks=[stopping(1)])
    with refused(vt.CheckpointMismatchError, "the first batch of the stream: something else"):
        tune(lambda seed, epoch: factory(seed + 1, epoch), **options)


def test_a_pipeline_that_fails_is_named_and_keeps_what_was_trained():
    def short(seed, epoch):
        for number in range(STEPS if epoch < 2 else 3):
            yield batch(epoch * 100 + number)

    with pytest.raises(
        RuntimeError, match=r"steps 10 to 14 .* epoch 2 ended after 3 of 5"
    ) as failed:
        tune(short, epochs=4)
    assert seen(failed.value.sweep[0])[:10] == [*range(5), *range(100, 105)]
