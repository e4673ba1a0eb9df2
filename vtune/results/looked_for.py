"""Names that people look for on a sweep, a member or `vt` because other libraries have them."""

from __future__ import annotations

from collections.abc import Iterable

from vtune.metrics.modes import nearest

_SWEEP = {
    "sweep.best.hparams": ("best_params", "best_params_", "best_config", "best_hyperparameters"),
    "sweep.best.score": ("best_score", "best_score_", "best_value"),
    "sweep.best": ("best_trial", "best_result", "get_best_result", "best_member", "best_model"),
    "sweep.best.variables": ("best_estimator_", "params", "variables", "weights", "state"),
    "sweep.ranking[0]": ("best_index", "best_index_"),
    "sweep.table()": (
        *("trials", "results", "cv_results_", "to_pandas", "to_dataframe", "trials_dataframe"),
        *("get_dataframe", "dataframe", "df"),
    ),
    "sweep.top(10)": ("head", "leaderboard", "best_trials", "get_best_hyperparameters"),
    "sweep.evaluate()": ("score", "test", "test_score", "score_test"),
    "sweep.plot.curves()": ("learning_curves", "curves", "plot_curves", "plot_history"),
    "sweep.history": ("metrics", "log", "logs"),
    "sweep.members[i].hparams": ("hparams", "config", "configs"),
    "vt.extend(sweep, epochs=...)": ("extend", "fit", "resume", "partial_fit"),
    "vt.replay(learner, data, sweep.schedule(i))": ("replay",),
    "jax.nn.softmax(sweep.predict(x))": ("predict_proba",),
    "sweep.retrain(top=1)": ("refit", "refit_best"),
}
_MEMBER = {
    'member.hparams, or member.variables["params"] for the weights': ("params",),
    "member.hparams": ("config", "hyperparameters", "best_params", "best_params_", "settings"),
    "member.variables": ("weights", "model", "parameters", "batch_stats"),
    "member.score": ("value", "values", "metric", "result", "best_score", "accuracy", "loss"),
    "member.history": ("metrics", "log", "logs", "curve"),
    "member.index": ("id", "number", "trial_id"),
}
_MODULE = {
    "vt.Float(low, high, log=True)": ("LogUniform", "loguniform", "LogFloat", "suggest_loguniform"),
    "vt.Float(low, high)": ("Uniform", "uniform", "Real", "FloatRange", "suggest_float"),
    "vt.Int(low, high)": ("Integer", "randint", "RandInt", "lograndint", "suggest_int"),
    "vt.Categorical([...])": ("choice", "Choice", "Choices", "suggest_categorical"),
    "vt.Grid()": ("GridSearch", "GridSampler", "grid_search"),
    "vt.Random(64)": ("RandomSearch", "RandomSampler", "Sobol"),
    "vt.Halving(), or vt.Hyperband()": ("ASHA", "SuccessiveHalving", "BOHB"),
    "vt.tune(learner, space, data, ...)": (
        *("Study", "create_study", "Tuner", "optimize", "run", "fit", "sweep", "search"),
    ),
    "vt.holdout({...}, fraction=0.2), or vt.from_splits(train, valid)": (
        "train_test_split",
        "split",
    ),
    "vt.kfold({...}, k=5)": ("KFold", "cross_validate", "cross_val_score"),
    "vt.flax_learner(...)": ("linen_learner", "LinenLearner", "FlaxLearner"),
    "vt.nn.Dropout(rate)": ("Dropout",),
    "vt.metrics.accuracy, and others of vt.metrics": ("accuracy", "Accuracy", "metric"),
}
_WRITE = {
    kind: {name: write for write, names in table.items() for name in names}
    for kind, table in (("Sweep", _SWEEP), ("Member", _MEMBER), ("vtune", _MODULE))
}


def no_such_name(kind: type, name: str) -> str:
    """Returns what is said of an attribute that a sweep or a member has not."""
    said = f"{kind.__name__!r} object has no attribute {name!r}"
    return _answered(said, kind.__name__, name, dir(kind))


def no_such_public_name(name: str, public: Iterable[str]) -> str:
    """Returns what is said of a name that `vt` has not."""
    return _answered(f"module 'vtune' has no attribute {name!r}", "vtune", name, public)


def _answered(said: str, kind: str, name: str, there: Iterable[str]) -> str:
    if name.startswith("__"):
        return said
    if name in _WRITE[kind]:
        return f"{said}; write {_WRITE[kind][name]}"
    near = nearest(name, [known for known in there if not known.startswith("_")])
    return f"{said}; did you mean {near!r}?" if near else said
