"""Sweeps and spaces as Optuna's studies and distributions, and back."""

import contextlib
import dataclasses
import json
import sqlite3
import sys
import threading
import urllib.request
import wsgiref.simple_server

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
    assert study.objectives == [("loss", "minimize")]
    assert [trial.state for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert [trial.params["lr"] for trial in study.trials] == [0.1, 0.5, 1e30]
    assert study.distributions["lr"].labels == (0.1, 0.5, 1e30)
    assert study.trials[2][1:4] == (None, {"lr": 1e30}, {})  # Optuna wants no value
    table = plain.table()
    for member, trial in zip(plain, study.trials, strict=True):
        assert trial.attributes["member"] == member.index
        assert trial.attributes["status"] == member.status
        assert set(trial.attributes) == {"member", *table.columns} - {"loss", "lr"}
        if trial.values is not None:
            assert np.float32(trial.values[0]) == member.score
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
        assert trial.values == [trial.intermediate[max(trial.intermediate)]]
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
        assert [("loss", study.direction.name.lower())] == expected.objectives
        assert study.metric_names == ["loss"]
        assert study.user_attrs["rounds"] == 4
        for trial, one in zip(study.get_trials(), expected.trials, strict=True):
            assert trial.state.name == one.state
            assert (trial.values, trial.params) == (one.values, one.params)
            assert trial.intermediate_values == one.intermediate
            assert trial.user_attrs == one.attributes
            took = trial.datetime_complete - trial.datetime_start
            assert took / (expected.ended - expected.began) == pytest.approx(one.share, abs=1e-3)
            for param, distribution in trial.distributions.items():
                found = expected.distributions[param]
                if isinstance(found, Choices):
                    assert distribution.choices == found.labels
                else:
                    name_of_kind = f"{'Int' if found.whole else 'Float'}Distribution"
                    assert type(distribution).__name__ == name_of_kind
                    numbers = {n: v for n, v in found._asdict().items() if n != "whole"}
                    assert vars(distribution) == numbers


def of_two_objectives(sweep):
    objectives = (("train/loss", "min"), ("loss", "max"))
    drawn = sweep.trained.drawn._replace(objectives=objectives)
    return type(sweep)(dataclasses.replace(sweep.trained, drawn=drawn))


def test_a_study_has_all_objectives(halved):
    study = of_two_objectives(halved).to_optuna()
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["train/loss", "loss"]
    last = halved.table()[["train/loss", "loss"]].to_numpy()
    for trial in study.trials:
        np.testing.assert_array_equal(np.float32(trial.values), last[trial.number])
        assert "train/loss" not in trial.user_attrs
    settings = vt.Given.from_optuna(study, best=len(study.best_trials)).settings
    assert all(trial.params in settings for trial in study.best_trials)


@pytest.mark.filterwarnings("ignore")  # of few trials
def test_optunas_plots_draw_sweeps(plain, halved, moved):
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as plots

    names = {name for name in dir(plots) if name.startswith("plot_")}
    of_several = {"plot_pareto_front": {}, "plot_hypervolume_history": {"reference_point": [9, 9]}}
    assert names > of_several.keys()
    options = {
        "plot_param_importances": {"evaluator": optuna.importance.PedAnovaImportanceEvaluator()},
        "plot_terminator_improvement": {  # the usual one needs PyTorch
            "improvement_evaluator": optuna.terminator.BestValueStagnationEvaluator()
        },
    }
    for sweep in (plain, halved, moved):
        study = sweep.to_optuna()
        params = sorted({name for trial in study.trials for name in trial.params})
        options["plot_contour"] = {"params": params[:2]}
        for name in names - of_several.keys():
            getattr(plots, name)(study, **options.get(name, {}))
            plt.close("all")
    study = of_two_objectives(halved).to_optuna()
    for name, more in of_several.items():
        getattr(plots, name)(study, **more)
    plt.close("all")


def test_the_dashboard_answers(sweeps, tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    for name, sweep in sweeps.items():
        storage = sweep.to_optuna(tmp_path / "a.log", name=name)._storage
    with wsgiref.simple_server.make_server("127.0.0.1", 0, dashboard.wsgi(storage)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def asked(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}") as answer:
                return json.load(answer)

        studies = asked("/api/studies")["study_summaries"]
        assert [study["study_name"] for study in studies] == list(sweeps)
        for study, sweep in zip(studies, sweeps.values(), strict=True):
            found = asked(f"/api/studies/{study['study_id']}")
            assert found["has_intermediate_values"]
            states = [trial["state"] for trial in found["trials"]]
            assert states == [trial.state.title() for trial in exported(sweep).trials]
        server.shutdown()


BAD_STORAGES = {
    "number": ({"storage": 3}, TypeError, r"storage must be the name of a file, .*; write \"runs/"),
    "study": (
        {"storage": optuna.create_study()},
        TypeError,
        r"storage must be the name of a file, an address, a storage of Optuna's or None",
    ),
    "folder": ({"storage": "."}, ValueError, r"\. is a folder; give the name of a file, such as"),
    "empty": ({"storage": ""}, ValueError, r"to_optuna: '' cannot be the name of a file; write"),
    "file": ({"storage": "file:///a.log"}, ValueError, r"is an address; write the file's path"),
    "bucket": ({"storage": "gs://runs/a.log"}, OSError, r"gs://runs/a.log: Optuna cannot write"),
    "text": ({"storage": __file__}, ValueError, r"test_studies.py is no journal of Optuna's; give"),
    "sqlite": (
        {"storage": f"sqlite:///{__file__}"},
        ValueError,
        r"test_studies.py is no database of Optuna's; give another",
    ),
    "name": ({"name": 3}, TypeError, r"name=3 must be the study's name, such as \"first\""),
    "no name": ({"name": ""}, TypeError, r"name='' must be the study's name"),
    "overwrite": ({"overwrite": "no"}, TypeError, r"to_optuna: overwrite='no' must be True or"),
}


@pytest.mark.parametrize(("given", "error", "says"), BAD_STORAGES.values(), ids=BAD_STORAGES)
def test_bad_storages_are_named(plain, given, error, says):
    with pytest.raises(error, match=says):
        plain.to_optuna(**given)


def test_a_study_is_not_replaced_unasked(plain, halved, tmp_path, monkeypatch):
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(foreign)) as database:
        database.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
    before = foreign.read_bytes()
    with pytest.raises(ValueError, match=r"foreign.db is no database of Optuna's"):
        plain.to_optuna(foreign)
    assert foreign.read_bytes() == before
    path = tmp_path / "a.log"
    plain.to_optuna(path)
    with pytest.raises(FileExistsError, match=r"has a study 'sweep' already; give overwrite=True"):
        halved.to_optuna(path)
    study = halved.to_optuna(path, overwrite=True)
    assert len(study.trials) == 8
    assert len(optuna.get_all_study_names(study._storage)) == 1

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(optuna.Study, "add_trials", full)
    with pytest.raises(OSError, match="No space left on device"):
        plain.to_optuna(tmp_path / "new" / "folder" / "a.log")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "foreign.db"]
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"^to_optuna needs optuna, .*'vtune\[optuna\]'$"):
        plain.to_optuna()


# The best trials as settings ---------------------------------------------------------------------


def study_of(trials, *directions, attributes=None):
    """A study in memory: (params, values) of each trial, values None of one that failed."""
    study = optuna.create_study(directions=directions or ["minimize"])
    for name, value in (attributes or {}).items():
        study.set_user_attr(name, value)
    for params, values in trials:
        kinds = {
            name: optuna.distributions.CategoricalDistribution([value])
            if isinstance(value, str)
            else optuna.distributions.FloatDistribution(-1e9, 1e9)
            if isinstance(value, float)
            else optuna.distributions.IntDistribution(-100, 100)
            for name, value in params.items()
        }
        state = optuna.trial.TrialState["FAIL" if values is None else "COMPLETE"]
        study.add_trial(
            optuna.trial.create_trial(
                state=state, values=values, params=params, distributions=kinds
            )
        )
    return study


def settings_drawn(search, space):
    """The settings that a search draws, in the order of the members."""
    found = {}
    for cohort in search.draw(parse(space), 0):
        for slot, member in enumerate(cohort.id):
            traced = cohort.combination.traced
            values = {name: d.report(cohort.hparams[name][slot]) for name, d in traced.items()}
            found[int(member)] = {**cohort.combination.choices, **values}
    return [found[member] for member in range(len(found))]


def test_the_best_trials_are_settings():
    space = {"lr": vt.Float(0, 1), "c": vt.Ordinal([0.5, 8, 2]), "act": vt.Categorical([own, abs])}
    trials = [
        ({"lr": 0.5, "c": 8, "act": "abs"}, [2.0]),
        ({"lr": 0.25, "c": 2, "act": "own"}, [3.0]),
        ({"lr": 9.0, "c": 2, "act": "own"}, None),
        ({"lr": 0.75, "c": 8, "act": "own"}, [1.0]),
    ]
    best = [
        {"act": own, "lr": 0.75, "c": 8},
        {"act": abs, "lr": 0.5, "c": 8},
        {"act": own, "lr": 0.25, "c": 2},
    ]
    assert settings_drawn(vt.Given.from_optuna(study_of(trials)), space) == best
    study = study_of(trials, "maximize")
    assert settings_drawn(vt.Given.from_optuna(study, best=2), space) == best[:0:-1]


def test_what_was_asked_or_exported_comes_back(plain, halved, moved):
    space = parse(
        [
            {"lr": vt.Float(0, 1), "c": vt.Ordinal([0.5, 8, 2]), "act": vt.Categorical([own, abs])},
            {"lr": vt.Float(0.1, 1, log=True), "c": vt.Ordinal([1, 2]), "act": "x"},
        ]
    )
    drawn = vt.Halton(9).draw(space, 0)
    study = optuna.create_study()
    study.set_user_attr(PLACES, json.loads(json.dumps(places_asked(space))))
    wanted = []
    for cohort in drawn:
        combination = cohort.combination
        for slot in range(len(cohort.id)):
            values = {
                name: d.report(cohort.hparams[name][slot]) for name, d in combination.traced.items()
            }
            wanted.append({**combination.choices, **values})
            study.add_trial(
                optuna.trial.create_trial(
                    value=float(len(wanted)),
                    params=params_of(space, combination, values),
                    distributions=asked_distributions(space, combination),
                )
            )
    given_back = vt.Given.from_optuna(study)
    assert settings_drawn(given_back, list(space.parts)) == wanted

    for sweep in (plain, halved, moved):
        best = [sweep[i] for i in sweep.ranking if sweep[i].status == "completed"]
        again = settings_drawn(vt.Given.from_optuna(sweep.to_optuna()), list(sweep.space.parts))
        names = [set(setting) for setting in again]
        assert again == [
            {name: member.hparams[name] for name in own_names}
            for member, own_names in zip(best, names, strict=True)
        ]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12), st.data())
def test_of_several_objectives_the_fronts_come_one_by_one(values, data):
    from optuna.study._multi_objective import _fast_non_domination_rank

    signs = data.draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    directions = ["maximize" if sign > 0 else "minimize" for sign in signs]
    study = study_of([({"lr": float(i)}, v) for i, v in enumerate(values)], *directions)
    found = [setting["lr"] for setting in vt.Given.from_optuna(study).settings]
    ranks = _fast_non_domination_rank(-np.array(signs) * np.array(values, float))
    assert sorted(found) == list(range(len(values)))
    assert [ranks[int(i)] for i in found] == sorted(ranks)


def test_trials_that_violate_constraints_come_last():
    study = optuna.create_study()
    kinds = {"lr": optuna.distributions.FloatDistribution(0, 9)}
    for number, violation in enumerate([2.0, 1.0, -0.5, -1.0]):
        trial = optuna.trial.create_trial(
            value=number,
            params={"lr": number},
            distributions=kinds,
            system_attrs={"constraints": [violation]},
        )
        study.add_trial(trial)
    settings = vt.Given.from_optuna(study, best=3).settings
    assert [setting["lr"] for setting in settings] == [2, 3, 1]


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (
            lambda: vt.Given.from_optuna("a.db"),
            TypeError,
            r"study must be a study of Optuna's, got 'a.db'; write optuna.load_study\(study_name=",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([])),
            ValueError,
            r"no complete trial \(none at all",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([({"lr": 0.5}, None)] * 2)),
            ValueError,
            r"from_optuna: the study has no complete trial \(2 FAIL\)",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([({"lr": 0.5}, [1.0])]), best=0),
            ValueError,
            r"from_optuna: best=0 must be a whole number, 1 or more",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([({"lr": 0.5, "b1": 0.9}, [1.0])])),
            ValueError,
            r"Given: setting 0 has 'b1', which is not in the space \(it has 'lr', 'act'\)",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([({"lr": 0.5}, [1.0])])),
            ValueError,
            r"Given: setting 0 lacks 'act'",
        ),
        (
            lambda: vt.Given.from_optuna(study_of([({"lr": 0.5, "act": "relu"}, [1.0])])),
            ValueError,
            r"Given: setting 0 has act='relu', which is not a choice of the space",
        ),
    ],
)
def test_bad_studies_are_named(build, error, says):
    with pytest.raises(error, match=says):
        build().draw(parse({"lr": vt.Float(0, 1), "act": vt.Categorical([own, abs])}), 0)
