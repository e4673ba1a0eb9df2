"""A search by generations: one program, members that equal their solo runs, a study that is told
everything once."""

import csv
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optuna
import pytest
from problems import quadratic

import vtune as vt
from vtune.results.beginnings import begun_with
from vtune.results.costs import costs_of
from vtune.runtime.time_limit import TimeLimit
from vtune.studies.asked import MEMBER
from vtune.tuning.check_generations import warn_slow
from vtune.tuning.generations import asking, kept

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SIZE = 8
STATES = optuna.trial.TrialState


def noisy():
    """A walk whose end says which key it was trained with. The loss has its least at x = 0.3,
    y = 2, w = 1; it diverges where x is above 0.6."""

    def step(key, h, walk, batch):
        return walk + h["x"] * jax.random.normal(key) * jnp.where(h["x"] > 0.6, jnp.nan, 1), {}

    def measure(key, h, walk, batch, weight):
        far = jnp.log(h["y"] / 2) ** 2 + (h["x"] - 0.3) ** 2 + 0.1 * (h["w"] - 1)
        return {"loss": far + 1e-6 * walk, "size": h["y"] + 1e-6 * walk}

    return vt.Learner(
        init=lambda key, h, batch: jax.random.normal(key),
        step=step,
        measure=measure,
        score=lambda total: total,
        variables=lambda walk: walk,
        modes=(("size", "min"),),
    )


LEARNER = noisy()
SPACE = {
    "x": vt.Float(-1.0, 1.0),
    "y": vt.Float(1e-2, 1e2, log=True),
    "w": vt.Categorical([1, 2]),
}
TPE = optuna.samplers.TPESampler
CALL = {"steps": 4, "rounds": 4, "seed": 3, "progress": False}


def search(sampler=TPE, generations=3, **options):
    return vt.Generations(sampler(), size=SIZE, generations=generations, **options)


def tune(how=None, space=SPACE, learner=LEARNER, **options):
    how = search() if how is None else how
    return vt.tune(learner, space, search=how, **{**CALL, **options})


def nsga():
    return optuna.samplers.NSGAIISampler(population_size=SIZE)


def cma():
    return optuna.samplers.CmaEsSampler(popsize=SIZE)


@pytest.fixture(scope="module")
def whole():
    return tune()


def trials_of(study):
    return study.get_trials(deepcopy=False)


# The program and its members


def test_all_generations_are_one_program(whole, compilations):
    vt.clear_caches()
    with compilations() as compiled:
        sweep = tune()
    assert compiled.count == 1
    assert sweep.table().equals(whole.table())  # the same call gives the same bits


def test_a_sweep_has_the_members_of_all_generations(whole):
    table = whole.table()
    assert len(whole) == 3 * SIZE
    assert table["generation"].tolist() == [i // SIZE for i in range(3 * SIZE)]
    assert table["w"].tolist() == [1, 2] * (3 * SIZE // 2)  # cohorts keep their sizes
    assert whole.trained.drawn.search == "Generations(TPESampler)"
    first = vt.tune(LEARNER, SPACE, search=vt.Halton(SIZE), **CALL).table()
    assert first.equals(table[:SIZE].drop(columns="generation"))


@pytest.mark.parametrize("generation", [0, 2])
def test_a_member_equals_its_solo_run(whole, generation):
    loss = whole.history["loss"][-1].reshape(3, SIZE)
    index = generation * SIZE + int(np.nanargmin(loss[generation]))
    member = whole[index]
    h = {name: np.float32(value) for name, value in member.hparams.items()}
    key = vt.member_key(3, index)
    walk = LEARNER.init(key, h, None)
    for number in range(4):
        walk, _ = LEARNER.step(jax.random.fold_in(key, number), h, walk, None)
    assert float(member.variables) == pytest.approx(float(walk), abs=1e-6)
    again = whole.rerun(index)
    assert again.index == index
    assert float(again.variables) == float(member.variables)


def test_the_later_generations_are_better(whole):
    loss = whole.history["loss"][-1].reshape(3, SIZE)
    assert np.nanmin(loss[2]) < np.nanmin(loss[0])
    assert np.nanmedian(loss[2]) < np.nanmedian(loss[0])


def test_saved_and_loaded_and_extended(whole, tmp_path):
    whole.save(tmp_path / "a")
    loaded = vt.load(tmp_path / "a", LEARNER)
    assert loaded.table().equals(whole.table())
    assert loaded.trained.drawn == whole.trained.drawn
    more = vt.extend(loaded, steps=2, progress=False)
    assert more.trained.rounds == 5
    assert len(more) == 3 * SIZE
    assert more.table()["generation"].equals(whole.table()["generation"])


def test_halving_drops_in_each_generation():
    study = optuna.create_study()
    sweep = tune(search(study=study), refiner=vt.Halving(2))
    assert sweep.n_candidates_ == [3 * SIZE, 3 * SIZE // 2, 3 * SIZE // 4]
    dropped = [member.index for member in sweep if member.status.startswith("dropped")]
    for member, trial in zip(sweep, trials_of(study), strict=True):
        if member.index in dropped:
            lived = int(sweep.trained.lived[member.index])
            assert trial.state == STATES.PRUNED
            expected = dict(enumerate(map(float, sweep.history["loss"][:lived, member.index])))
            assert trial.intermediate_values == {
                k: v for k, v in expected.items() if math.isfinite(v)
            }
    alive = next(i for i in sweep.ranking.tolist() if i not in dropped)
    assert np.isfinite(sweep[alive].variables)
    assert sweep[alive].variables == sweep.rerun(alive).variables


# The study


@pytest.mark.parametrize(
    ("sampler", "generation"), [(cma, "generation"), (nsga, "generation"), (TPE, None)]
)
def test_the_study_is_told_and_goes_on_though_members_diverge(sampler, generation):
    study = optuna.create_study()
    before = study.sampler
    sweep = tune(search(sampler, generations=4, study=study))
    trials, loss = trials_of(study), sweep.history["loss"][-1]
    assert [trial.user_attrs[MEMBER] for trial in trials] == list(range(4 * SIZE))
    assert all(trial.state == STATES.COMPLETE for trial in trials)
    assert study.sampler is before
    died = np.isnan(loss)
    assert died[:SIZE].sum() >= 0.2 * SIZE  # or nothing is tested
    for number, trial in enumerate(trials):
        own = slice(number // SIZE * SIZE, number // SIZE * SIZE + SIZE)
        expected = np.nanmax(loss[own]) if died[number] else loss[number]
        assert trial.value == pytest.approx(float(expected))
        told = {name: sweep[number].hparams[name] for name in SPACE}
        assert trial.params == pytest.approx(told, rel=1e-6)
    if generation is not None:
        of = [
            [v for k, v in trial.system_attrs.items() if k.endswith(generation)] for trial in trials
        ]
        numbers = [values[0] if values else -1 for values in of]
        last = [set(numbers[k * SIZE : k * SIZE + SIZE]) for k in (1, 2, 3)]
        assert [len(found) for found in last] == [1, 1, 1]  # each is one of the sampler's own
        assert len(set.union(*last)) == 3


def test_a_study_is_continued():
    study = optuna.create_study()
    tune(search(generations=2, study=study))
    more = tune(search(generations=1, study=study), seed=4)
    assert len(study.trials) == 3 * SIZE
    asked = vt.Halton(SIZE).draw(more.space, 4)
    assert not np.isin(more.settings["x"][0], np.concatenate([c.hparams["x"] for c in asked])).any()


def test_trials_that_were_never_trained_are_failed(monkeypatch):
    study = optuna.create_study()
    monkeypatch.setattr(asking.Asking, "tell", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tune(search(study=study))
    assert [trial.state for trial in study.trials] == [STATES.FAIL] * SIZE


# Killed and continued


class Killed(BaseException):
    """Ends a run as a kill would: nothing catches it."""


def kill_at(monkeypatch, owner, name, call):
    """The call of this number, of a method, ends the run before or after it."""
    method, seen = getattr(owner, name), []

    def dying(*arguments, **keywords):
        seen.append(None)
        if len(seen) == abs(call) and call > 0:
            raise Killed
        result = method(*arguments, **keywords)
        if len(seen) == abs(call):
            raise Killed
        return result

    monkeypatch.setattr(owner, name, dying)


KILLS = {
    "asking for the first": (optuna.Study, "ask", 1),
    "a member was enqueued": (optuna.Study, "enqueue_trial", -11),
    "half of its parameters": (optuna.trial.Trial, "suggest_float", -21),
    "a generation is trained": (asking.Asking, "tell", 2),
    "half of it is told": (optuna.Study, "tell", -12),
    "all of it is told": (asking.Asking, "tell", -2),
    "it was added": (kept, "write_finished", -2),
}


@pytest.mark.parametrize("when", KILLS)
def test_a_killed_run_goes_on_to_the_same_bits(when, whole, tmp_path, monkeypatch):
    owner, name, call = KILLS[when]
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, call)
        with pytest.raises(Killed):
            tune(checkpoint=tmp_path)
    with (tmp_path / "study.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "half a li')  # what a kill leaves of a line
    sweep = tune(checkpoint=tmp_path)
    assert sweep.table().equals(whole.table())
    (found,) = optuna.get_all_study_names(storage(tmp_path))
    trials = trials_of(optuna.load_study(study_name=found, storage=storage(tmp_path)))
    assert [trial.user_attrs[MEMBER] for trial in trials] == list(range(3 * SIZE))
    assert all(trial.state == STATES.COMPLETE for trial in trials)
    assert not list(tmp_path.glob("generation-*"))


def storage(folder):
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
    return optuna.storages.JournalStorage(backend)


def test_stopped_in_a_generation_and_then_more_of_them(whole, tmp_path, compilations):
    class Stop:
        most_rounds = 1

        def rounds(self, report):
            return vt.STOP if report.round == 5 else None

    with pytest.warns(UserWarning, match="stopped: 1 of 3 generations were run; .* goes on from"):
        part = tune(checkpoint=tmp_path, callbacks=[Stop()])
    assert len(part) == SIZE  # of the generation that was not finished nothing is held
    loaded = vt.load(tmp_path, LEARNER)
    assert loaded.table().equals(part.table())
    with pytest.raises(vt.CheckpointMismatchError, match=r"the sampler: .*Random.* here, .*TPE"):
        tune(search(optuna.samplers.RandomSampler), checkpoint=tmp_path)
    assert tune(checkpoint=tmp_path).table().equals(whole.table())
    with compilations() as compiled:
        same = tune(checkpoint=tmp_path)
        longer = tune(search(generations=4), checkpoint=tmp_path)
    assert compiled.count == 0
    assert same.table().equals(whole.table())
    assert longer.table()[: 3 * SIZE].equals(whole.table())
    assert len(longer) == 4 * SIZE
    with pytest.raises(vt.CheckpointMismatchError, match="4 generations"):
        tune(search(generations=2), checkpoint=tmp_path)


def test_a_study_in_memory_gets_what_the_folder_holds(tmp_path):
    tune(search(generations=2, study=optuna.create_study()), checkpoint=tmp_path)
    study = optuna.create_study()
    tune(search(study=study), checkpoint=tmp_path)
    assert len(study.trials) == 3 * SIZE
    again = optuna.create_study()
    tune(search(study=again))
    for one, other in zip(trials_of(study), trials_of(again), strict=True):
        assert (one.state, one.value, one.user_attrs[MEMBER]) == (
            other.state,
            other.value,
            other.user_attrs[MEMBER],
        )


def test_a_timeout_begins_no_generation_that_would_not_end(monkeypatch):
    monkeypatch.setattr(TimeLimit, "fits", lambda self, seconds: False)
    with pytest.warns(UserWarning, match=r"timeout: 1 of 3 generations were run"):
        assert len(tune(timeout=1000)) == SIZE


# Several objectives, warm starts, callbacks


def test_several_objectives():
    study = optuna.create_study(directions=["minimize", "minimize"])
    sweep = tune(search(nsga, study=study), metric=("loss", "size"), mode=("min", "min"))
    assert sweep.trained.objectives == (("loss", "min"), ("size", "min"))
    assert sweep.metric_name == "loss"
    front = {trial.number for trial in study.best_trials}
    values = np.stack([sweep.history["loss"][-1], sweep.history["size"][-1]], axis=1)
    finite = np.isfinite(values).all(axis=1)
    for trial in trials_of(study):
        if finite[trial.number]:
            assert trial.values == pytest.approx(values[trial.number].tolist())
    assert set(sweep.pareto().index) == {number for number in front if finite[number]}


def test_costs_and_constraints():
    study = optuna.create_study(directions=["minimize", "minimize"])
    how = search(nsga, study=study, constraints=lambda metrics: metrics["size"] - 5)
    sweep = tune(how, metric=("flops", "loss"))
    assert sweep.metric_name == "loss"
    size, flops = sweep.history["size"][-1], costs_of(sweep.trained, "flops")
    for number, trial in enumerate(trials_of(study)):
        expected = size[number] - 5 if np.isfinite(size[number]) else np.inf
        assert trial.constraints == {"constraint 0": pytest.approx(float(expected))}
        assert trial.values[0] == flops[number]


@pytest.mark.parametrize("given", [None, 2.0])
def test_a_warm_start_begins_with_the_best_weights(given):
    learner = quadratic()._replace(
        variables=lambda x: {"x": x}, load=lambda h, x, weights: weights["x"]
    )
    how = search(generations=3, warm_start=True)
    begin = None if given is None else {"x": given}
    sweep = tune(how, {"lr": vt.Float(0.1, 0.9)}, learner, init_from=begin)
    loss = sweep.history["loss"][-1].reshape(3, SIZE)
    best = [int(loss[0].argmin()), SIZE + int(loss[1].argmin())]
    assert sweep.trained.drawn.began_from == (-1, *best)
    for index in (0, SIZE + 3, 2 * SIZE + 5):
        first = 1.0 if given is None else given
        begun = first if index < SIZE else float(sweep[best[index // SIZE - 1]].variables["x"])
        end = begun * (1 - sweep[index].hparams["lr"]) ** 4
        assert float(sweep[index].variables["x"]) == pytest.approx(end, rel=1e-5)
        assert float(sweep.rerun(index).variables["x"]) == pytest.approx(end, rel=1e-5)
    with pytest.raises(ValueError, match=r"retrain: .* \(warm_start=True\)"):
        begun_with("retrain", sweep.trained, [0, SIZE])


def test_a_warm_start_of_members_that_share_frozen_weights(compilations):
    """The best weights take the place of the trained ones; all is one program."""
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    data = vt.holdout({"x": x, "y": x.sum(-1, keepdims=True)})
    model = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(1)])
    weights = model.init(jax.random.key(1), x[:1])["params"]
    learner = vt.flax_learner(
        model,
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=lambda out, batch, h: ((out - batch["y"]) ** 2)[:, 0],
    )
    given = {"data": data, "init_from": {"params": weights}, "frozen": "layers_0"}
    with compilations() as compiled:
        sweep = tune(search(warm_start=True), {"lr": vt.Float(0.01, 0.3)}, learner, **given)
    assert compiled.count == 1
    last = 2 * SIZE + 5
    source = sweep.trained.drawn.began_from[2]
    begun = {**weights, "layers_2": sweep[source].variables["params"]["layers_2"]}
    setting = vt.Given([sweep[last].hparams])
    alone = tune(setting, {"lr": vt.Float(0.01, 0.3)}, learner, **given | {"init_from": begun})
    for found in (sweep[last], sweep.rerun(last)):
        for one, other in zip(
            jax.tree.leaves(found.variables), jax.tree.leaves(alone[0].variables), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    kernels = [sweep[i].variables["params"]["layers_0"]["kernel"] for i in (0, last)]
    np.testing.assert_array_equal(kernels, [weights["layers_0"]["kernel"]] * 2)


def test_callbacks_are_told_of_one_long_run(whole, tmp_path):
    reports, runs, ends = [], [], []

    class Look:
        most_rounds = 1

        def begin(self, run):
            runs.append(run)

        def rounds(self, report):
            reports.append(report)

        def end(self, sweep):
            ends.append(sweep)

    path = tmp_path / "history.csv"
    sweep = tune(callbacks=[Look(), vt.log.CSV(path), vt.log.TensorBoard(tmp_path / "tb")])
    assert [report.first for report in reports] == list(range(12))
    assert [len(run) for run in runs] == [SIZE, 2 * SIZE, 3 * SIZE]
    assert {run.planned for run in runs} == {3 * SIZE}
    assert runs[1].plan.startswith("generation 2")
    assert len(ends) == 1
    assert ends[0].table().equals(whole.table())
    last = reports[-1]
    np.testing.assert_array_equal(
        last.history["loss"][:, -SIZE:], sweep.history["loss"][3:, -SIZE:]
    )
    assert not last.trained[:, :-SIZE].any()
    assert last.trained[:, -SIZE:].all()
    assert last.best.index == sweep.best.index
    assert last.best.hparams == sweep.best.hparams
    np.testing.assert_array_equal(last.scores, sweep.scores)
    assert last.hparams(3 * SIZE - 1) == sweep[3 * SIZE - 1].hparams
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["member"]) for row in rows[-SIZE:]] == list(range(2 * SIZE, 3 * SIZE))
    assert len(rows) == 12 * SIZE
    assert rows[-1]["round"] == "11"


# Bad input


def study_that(**options):
    return optuna.create_study(**options)


def enqueued():
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5})
    return study


BAD = {
    "a class": (lambda: vt.Generations(TPE), TypeError, r"write vt.Generations\(.*TPESampler\(\)"),
    "a text": (
        lambda: vt.Generations("tpe"),
        TypeError,
        "sampler='tpe' is a name, and a sampler itself is needed",
    ),
    "a search": (lambda: vt.Generations(vt.Halton(4)), TypeError, r"is no sampler of Optuna"),
    "no generation": (lambda: vt.Generations(TPE(), generations=0), ValueError, "generations=0"),
    "half a member": (lambda: vt.Generations(TPE(), size=2.5), ValueError, "size=2.5 must be a"),
    "too many": (
        lambda: vt.Generations(TPE(), size=10**6, generations=100),
        ValueError,
        "10,000,000 at most",
    ),
    "a constraint": (
        lambda: vt.Generations(TPE(), constraints=lambda: 0),
        TypeError,
        r"constraints must take the arguments \(metrics\)",
    ),
    "a flag": (lambda: vt.Generations(TPE(), warm_start="yes"), TypeError, "warm_start='yes'"),
    "a study's name": (
        lambda: vt.Generations(TPE(), study="a"),
        TypeError,
        r"study='a' must be a study itself; write optuna.create_study",
    ),
    "a storage": (lambda: vt.Generations(TPE(), study=3), TypeError, "one of Optuna's, got int"),
    "another population": (
        lambda: vt.Generations(optuna.samplers.NSGAIISampler(), size=8),
        ValueError,
        r"size=8, and the NSGAIISampler has population_size=50; .* write NSGAIISampler\(popul.*=8",
    ),
    "its own population": (
        lambda: tune(vt.Generations(optuna.samplers.CmaEsSampler())),
        ValueError,
        r"size=64, and the CmaEsSampler chooses its popsize; .* CmaEsSampler\(popsize=64\)",
    ),
    "PBT": (lambda: tune(refiner=vt.PBT()), ValueError, "PBT changes hyperparameters while"),
    "only structure": (
        lambda: tune(space={"x": 0.1, "y": 1.0, "w": vt.Categorical([1, 2])}),
        ValueError,
        "no traced hyperparameter to ask a sampler for",
    ),
    "more structures than members": (
        lambda: tune(space={**SPACE, "w": vt.Categorical(list(range(9)))}),
        ValueError,
        "size=8 is below the 9 structural combinations",
    ),
    "warm structures": (
        lambda: tune(search(warm_start=True)),
        ValueError,
        "warm_start=True and 2 structural combinations",
    ),
    "warm seeds": (
        lambda: tune(search(warm_start=True), {**SPACE, "w": 1}, seeds=2),
        ValueError,
        "warm_start=True and folds or seeds=",
    ),
    "a study's direction": (
        lambda: tune(search(study=study_that(direction="maximize"))),
        ValueError,
        r"is to maximize, and mode= says minimize; write optuna.create_study\(direction='minim",
    ),
    "a study's directions": (
        lambda: tune(search(study=study_that()), metric=("loss", "size")),
        ValueError,
        r"create_study\(directions=\['minimize', 'minimize'\]\)",
    ),
    "enqueued trials": (
        lambda: tune(search(study=enqueued())),
        ValueError,
        "1 trials of the study are enqueued",
    ),
    "several metrics without a sampler": (
        lambda: tune(vt.Halton(4), metric=("loss", "size")),
        ValueError,
        r"names several metrics, and only a search by .* name one: metric='loss'",
    ),
    "several metrics and halving": (
        lambda: tune(refiner=vt.Halving(), metric=("loss", "size")),
        ValueError,
        "Halving ranks members by one; name one",
    ),
    "several metrics and NSGA2": (
        lambda: tune(
            vt.Halton(4),
            refiner=vt.NSGA2({"loss": "min", "size": "min"}),
            metric=("loss", "size"),
        ),
        ValueError,
        "NSGA2 is given its own; metric= takes the one .*: metric='loss'",
    ),
    "several metrics and no learner": (
        lambda: tune(learner=quadratic, metric=("loss", "size")),
        TypeError,
        r"learner must be a vt.Learner, got function",
    ),
    "one of several": (lambda: tune(metric=("loss",)), ValueError, "write metric='loss'"),
    "twice": (lambda: tune(metric=("loss", "loss")), TypeError, "must be different names"),
    "modes": (
        lambda: tune(metric=("loss", "size"), mode=("min",)),
        ValueError,
        'must have "max" or "min" for each of the 2 metrics',
    ),
    "modes of one": (lambda: tune(mode=("min", "max")), TypeError, "is for several metrics"),
    "an unknown objective": (
        lambda: tune(search(nsga), metric=("loss", "f1"), mode=("min", "max")),
        ValueError,
        r"'f1' is neither one of .*'loss'.* nor one of the costs",
    ),
    "costs alone": (lambda: tune(metric=("params", "flops")), ValueError, "names costs alone"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_asked_or_compiled(case, refused):
    call, error, says = BAD[case]
    with refused(error, says):
        call()


def test_a_generation_that_asks_for_minutes_is_warned_of():
    with pytest.warns(UserWarning, match="asking GPSampler for 64 settings takes minutes"):
        warn_slow(vt.Generations(optuna.samplers.GPSampler(), size=64))
