"""Names that people look for on a sweep because other libraries have them."""

from __future__ import annotations

from vtune.metrics.modes import nearest

_ELSEWHERE = {
    "sweep.best.hparams": ("best_params", "best_params_", "best_config", "best_hyperparameters"),
    "sweep.best.score": ("best_score", "best_score_", "best_value"),
    "sweep.best": ("best_trial", "best_result", "get_best_result", "best_member", "best_model"),
    "sweep.best.variables": ("best_estimator_", "params", "variables", "weights", "state"),
    "sweep.ranking[0]": ("best_index", "best_index_"),
    "sweep.table()": (
        *("trials", "results", "cv_results_", "to_pandas", "to_dataframe", "trials_dataframe"),
        *("get_dataframe", "dataframe", "df", "report", "summary"),
    ),
    "sweep.top(10)": ("head", "leaderboard", "best_trials", "get_best_hyperparameters"),
    "sweep.evaluate()": ("score", "test", "test_score", "score_test"),
    "sweep.history": ("plot", "learning_curves", "curves", "metrics", "log", "logs"),
    "sweep.members[i].hparams": ("hparams", "config", "configs"),
    "vt.extend(sweep, epochs=...)": ("extend", "fit", "resume", "partial_fit"),
    "vt.replay(learner, data, sweep.schedule(i))": ("replay",),
    "jax.nn.softmax(sweep.predict(x))": ("predict_proba",),
    "sweep.retrain(top=1)": ("refit", "refit_best"),
}
_WRITE = {name: write for write, names in _ELSEWHERE.items() for name in names}


def no_such_name(kind: type, name: str) -> str:
    """Returns what is said of an attribute that a sweep has not."""
    said = f"{kind.__name__!r} object has no attribute {name!r}"
    if name.startswith("__"):
        return said
    if name in _WRITE:
        return f"{said}; write {_WRITE[name]}"
    public = [known for known in dir(kind) if not known.startswith("_")]
    near = nearest(name, public)
    return f"{said}; did you mean {near!r}?" if near else said
