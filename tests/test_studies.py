"""Sweeps and spaces as Optuna's studies and distributions, and back."""

import json

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from problems import quadratic

import vtune as vt
from vtune.space.space import parse
from vtune.studies.asked import (
    PLACES,
    asked_distributions,
    chosen_params,
    params_of,
    places_asked,
    values_of,
)
from vtune.studies.ranges import Choices, Numbers, distribution_of
from vtune.studies.trials import exported
from vtune.visible import visible

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)

LEARNER = quadratic()


def own(x):
    return x


number = st.floats(-1e4, 1e4, allow_subnormal=False)


@st.composite
def floats(draw):
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 1e3) if log else number)
    if not log and draw(st.booleans()):
        step = draw(st.sampled_from([0.1, 0.25, 1e-3, 3.0]))
        low = round(low, 3)
        high = low + step * draw(st.floats(1, 50))
        return vt.Float(low, high, step=step)
    high = low + draw(st.floats(0, 1e3))
    assume(np.float32(low) < np.float32(high))
    return vt.Float(low, high, log=log)


@st.composite
def whole(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    width = draw(st.integers(1, 1000))
    step = 1 if log else draw(st.integers(1, width))
    return vt.Int(low, low + width, log=log, step=step)


ordinals = st.lists(
    st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3, width=32)),
    min_size=1,
    max_size=5,
    unique_by=np.float32,
).map(vt.Ordinal)
choice = st.sampled_from([1, True, 1.5, "a", "1", None, (1, 2), own, np.tanh])
categorical = st.lists(choice, min_size=1, max_size=4, unique_by=repr).map(vt.Categorical)
entry = st.one_of(floats(), whole(), ordinals, categorical, st.just(3))
part = st.dictionaries(st.sampled_from(["a", "b", "\x1b"]), entry, min_size=1)
spaces = st.lists(part, min_size=1, max_size=3).map(parse)


@given(st.one_of(floats(), whole(), categorical))
@example(vt.Float(0.1, 0.7, step=0.1))
@example(vt.Float(5000.3, 5000.4, step=1e-4))
def test_distributions_are_optunas_and_back(ours):
    """Where a range ends between two steps, Optuna's ends with the last one."""
    space = parse({"a": ours})
    theirs = asked_distributions(space, space.combinations[0])["a"]
    (back,) = parse({"a": theirs}).parts
    if isinstance(ours, vt.Categorical):
        assert back["a"].choices == tuple(distribution_of([ours], []).labels)
    elif ours.high == distribution_of([ours], []).high:
        assert back["a"] == ours
    else:
        for name in ("low", "step", "log", "count"):
            assert getattr(back["a"], name) == getattr(ours, name)
    again = asked_distributions(parse(back), parse(back).combinations[0])["a"]
    assert again == theirs


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@given(spaces, st.integers(0, 2**31))
@example(parse({"a": vt.Float(0.1, 0.75, step=0.1)}), 0)  # 0.1 + 6 * 0.1 > 0.7
def test_what_is_asked_lies_in_the_space(space, seed):
    """One study takes the trials of all combinations; values come back as they were asked."""
    study = optuna.create_study()
    study.set_user_attr(PLACES, json.loads(json.dumps(places_asked(space))))
    sampler = optuna.samplers.RandomSampler(seed)
    for combination in space.combinations[:8]:
        distributions = asked_distributions(space, combination)
        study.sampler = optuna.samplers.PartialFixedSampler(
            chosen_params(space, combination), sampler
        )
        trial = study.ask(fixed_distributions=distributions)
        values = values_of(space, combination, trial.params)
        assert set(values) == {*combination.traced, *combination.choices}
        for name, distribution in combination.traced.items():
            assert distribution.contains(values[name])
            assert distribution.contains(distribution.report(distribution.cast([values[name]])[0]))
        for name, value in combination.choices.items():
            assert values[name] is value
        assert values_of(space, combination, params_of(space, combination, values)) == values
        for unit in (0.0, 0.5, 1 - 1e-12):
            drawn = {name: d.from_unit([unit])[0] for name, d in combination.traced.items()}
            params = params_of(space, combination, drawn)
            for param, distribution in distributions.items():
                assert distribution._contains(distribution.to_internal_repr(params[param]))


def test_distributions_hold_all_values_of_a_union():
    some = vt.Float(1e-3, 1.0, log=True)
    for entries, found, expected in (
        ([some], [], Numbers(False, 1e-3, 1.0, True)),
        ([vt.Float(0, 1)], [], Numbers(False, 0.0, 1.0)),
        ([vt.Float(0.1, 0.75, step=0.1)], [], Numbers(False, 0.1, 0.7, step=0.1)),
        ([vt.Int(1, 64, log=True)], [], Numbers(True, 1, 64, True, 1)),
        ([vt.Int(0, 10, step=4)], [], Numbers(True, 0, 8, step=4)),
        ([some, vt.Float(1e-5, 1e-2, log=True)], [], Numbers(False, 1e-5, 1.0, True)),
        ([some, 2.0], [], Numbers(False, 1e-3, 2.0, True)),
        ([some, 0.0], [], Numbers(False, 0.0, 1.0)),
        ([some, vt.Ordinal([1, 3])], [], Numbers(False, 1e-3, 3.0, True)),
        ([vt.Int(0, 8, step=4), vt.Int(4, 12, step=4)], [], Numbers(True, 0, 12, step=4)),
        ([vt.Int(0, 8, step=4), vt.Int(5, 9, step=4)], [], Numbers(True, 0, 9, step=1)),
        ([vt.Float(0, 1, step=0.5), 0.25], [], Numbers(False, 0.0, 1.0)),
        ([vt.Int(1, 3), 0.5], [], Numbers(False, 0.5, 3.0)),
        ([0.3], [0.3], None),
        ([0.3, 0.3], [0.3], None),
    ):
        assert distribution_of(entries, found) == expected, entries
    for entries, found, labels in (
        ([vt.Ordinal([0.5, 1])], [], [0.5, 1]),
        ([vt.Categorical([4])], [4], [4]),
        (["adam", "sgd"], [], ["adam", "sgd"]),
        ([some, "none"], [0.25, "none", 0.5], ["none", 0.25, 0.5]),
        ([vt.Categorical([own, (1, 2), None]), None], [], ["own", "(1, 2)", None]),
        ([vt.Categorical([True, 1, "1"])], [], [True, "1", "1 (2)"]),  # True == 1
        ([vt.Categorical([np.float32(0.5), "\udcff"])], [], [0.5, "\\udcff"]),
        ([vt.Categorical([lambda x: x, lambda x: -x])], [], ["<lambda>", "<lambda> (2)"]),
    ):
        made = distribution_of(entries, found)
        assert isinstance(made, Choices)
        assert [repr(label) for label in made.labels] == [repr(label) for label in labels]
        listed = [v for e in entries for v in getattr(e, "choices", getattr(e, "values", ()))]
        for value, label in zip(listed, made.labels, strict=False):
            assert made.value(value) is label
    assert Numbers(False, 0.1, 0.7).value(0.7000000000000001) == 0.7


@pytest.fixture(scope="module")
def plain():
    """One of its members diverges."""
    space = {"lr": vt.Ordinal([0.1, 0.5, 1e30])}
    return vt.tune(LEARNER, space, search=vt.Grid(), steps=40, rounds=4, seeds=2, progress=False)


@pytest.fixture(scope="module")
def halved():
    """A union of two spaces, whose worst members are dropped."""
    space = [
        {"lr": vt.Float(0.01, 0.5, log=True), "kind": "a", "n": 3},
        {"lr": 0.4, "kind": "b", "n": 3, "\x1b[31m\n": vt.Int(0, 7)},
    ]
    with pytest.warns(UserWarning, match="never read"):
        return vt.tune(
            LEARNER,
            space,
            search=vt.Random(8),
            refiner=vt.Halving(),
            steps=40,
            rounds=4,
            progress=False,
        )


@pytest.fixture(scope="module")
def moved():
    """A population whose worst continue the best, with other settings."""
    space = {"lr": vt.Float(0.001, 0.5, log=True)}
    options = {"search": vt.Random(8), "steps": 40, "rounds": 4, "progress": False}
    return vt.tune(LEARNER, space, refiner=vt.PBT(), **options)


def test_trials_are_the_members(plain, halved, moved):
    study = exported(plain)
    assert (study.direction, study.metric) == ("minimize", "loss")
    assert [trial.state for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert [trial.params["lr"] for trial in study.trials] == [0.1, 0.5, 1e30]
    assert study.distributions["lr"].labels == (0.1, 0.5, 1e30)
    assert study.trials[2][1:4] == (None, {"lr": 1e30}, {})  # Optuna wants no value
    table = plain.table()
    for member, trial in zip(plain, study.trials, strict=True):
        assert trial.attributes["member"] == member.index
        assert trial.attributes["status"] == member.status
        assert set(trial.attributes) == {"member", *table.columns} - {"loss", "lr"}
        if trial.value is not None:
            assert np.float32(trial.value) == member.score
            values = np.float32(list(trial.intermediate.values()))
            np.testing.assert_array_equal(values, member.history["loss"])
            assert trial.attributes["loss/std"] == table["loss/std"][member.index]

    study = exported(halved)
    dropped = [member.status.startswith("dropped") for member in halved]
    assert [trial.state == "PRUNED" for trial in study.trials] == dropped
    assert 0 < sum(dropped) < 8
    assert study.attributes["fixed"] == {"n": 3}
    assert list(study.distributions) == ["lr", "kind", "\\x1b[31m\\n"]
    assert study.distributions["lr"] == Numbers(False, 0.01, 0.5, True)
    for member, trial in zip(halved, study.trials, strict=True):
        names = {"\x1b[31m\n": "\\x1b[31m\\n"}
        kept = {names.get(k, k): v for k, v in member.hparams.items() if k != "n"}
        assert trial.params == kept
        assert list(trial.intermediate) == list(range(halved.trained.lived[member.index]))
        assert trial.value == trial.intermediate[max(trial.intermediate)]
        assert "settings" not in trial.attributes

    study = exported(moved)
    refined = [trial for trial in study.trials if "settings" in trial.attributes]
    assert refined
    for trial in refined:
        number = trial.attributes["member"]
        assert trial.attributes["parents"] == moved.parents[:, number].tolist()
        settings = trial.attributes["settings"]["lr"]
        np.testing.assert_array_equal(np.float32(settings), moved.settings["lr"][:, number])
        assert trial.params["lr"] == settings[-1] == moved[number].hparams["lr"]


@pytest.fixture(scope="module")
def sweeps(plain, halved, moved):
    return {"plain": plain, "<script>": halved, "m" * 250: moved}


def test_studies_have_what_the_tables_have(sweeps):
    for sweep in sweeps.values():
        table = sweep.table()
        frame = sweep.to_optuna().trials_dataframe()
        assert len(frame) == len(table)
        for name in set(table.columns) - {"loss", "n"}:
            kind = "params" if name in sweep.space.names else "user_attrs"
            shown = f"{kind}_{visible(name)}"
            ours = table[name].to_numpy()
            theirs = frame[shown].to_numpy()
            if ours.dtype.kind == "f":
                ours, theirs = np.float32(ours), np.float32(theirs)
                np.testing.assert_array_equal(ours, theirs)
            else:
                assert [a for a in ours if a == a] == [b for b in theirs if b == b]
        finite = (frame["state"] != "FAIL").to_numpy()
        np.testing.assert_array_equal(
            table["loss"][finite], np.float32(frame["value_loss"][finite])
        )
        assert frame["value_loss"][~finite].isna().all()


def storage_of(kind, folder):
    """What a user gives, and the file that it is."""
    odd = "a {b}?c#%41\x1b[31m"  # what means something in an address
    file = {
        "journal": folder / "new" / f"{odd}.log",
        "no ending": folder / "studies",
        "database": folder / f"{odd}.DB",
        "address": folder / "b.db",
    }.get(kind)
    if kind == "address":
        return f"sqlite:///{file}", file
    if kind == "storage":
        return optuna.storages.InMemoryStorage(), None
    return file, file


@pytest.mark.parametrize(
    "kind", ["memory", "journal", "no ending", "database", "address", "storage"]
)
def test_optuna_reads_what_was_exported(sweeps, tmp_path, kind, monkeypatch, capsys):
    storage, file = storage_of(kind, tmp_path)
    slow = kind in ("database", "address")
    if slow:
        sweeps = {"plain": sweeps["plain"]}
    monkeypatch.setattr("vtune.studies.study.PATIENCE", -100.0)
    for name, sweep in sweeps.items():
        study = sweep.to_optuna(storage, name=name)
        assert ("twenty times as fast" in capsys.readouterr().err) == slow
        if file is not None:
            assert file.exists()
            connected = study._storage
            study = optuna.load_study(study_name=name, storage=connected)
        expected = exported(sweep)
        assert study.study_name == name
        assert study.direction.name.lower() == expected.direction
        assert study.metric_names == ["loss"]
        assert study.user_attrs["rounds"] == 4
        for trial, one in zip(study.get_trials(), expected.trials, strict=True):
            assert trial.state.name == one.state
            assert (trial.value, trial.params) == (one.value, one.params)
            assert trial.intermediate_values == one.intermediate
            assert trial.user_attrs == one.attributes
            assert trial.datetime_start <= trial.datetime_complete
            for param, distribution in trial.distributions.items():
                found = expected.distributions[param]
                if isinstance(found, Choices):
                    assert distribution.choices == found.labels
                else:
                    name_of_kind = f"{'Int' if found.whole else 'Float'}Distribution"
                    assert type(distribution).__name__ == name_of_kind
                    numbers = {n: v for n, v in found._asdict().items() if n != "whole"}
                    assert vars(distribution) == numbers
