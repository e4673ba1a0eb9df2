"""Which C and which penalty: the articles' own example of logistic regression, on three data sets.

Command:   python experiments/iris_logistic.py
Data:      iris, wine and breast cancer, bundled with scikit-learn; a fifth kept for the test.
Searched:  C from 0.001 to 100 x l1, l2: 12 settings x 5 folds in one program (C and the penalty are
           numbers, so it is one cohort), the best fitted again to all folds. Beside it the search
           of scikit-learn, by its saga with 5,000 iterations. Wine and breast cancer are
           standardised in a pipeline, by each fold's training rows.
Time:      20 s on 2 CPU cores, half of it scikit-learn's
Result:    both searches reach 0.9750, 0.9788 and 0.9714 over the folds, and 1.0, 1.0 and 0.9649 on
           the test. Their largest gap between equal settings is 0.0140: vtune goes on to the
           optimum, saga does not where C is large.
Output:    runs/iris_logistic: table.csv and figure.png
Picture:   accuracy over the folds against C on three data sets, a line for l1 and one for l2 by
           vtune, and marks by scikit-learn that lie on them
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from options import parse
from sklearn import datasets, linear_model, model_selection
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vtune as vt
from vtune.sklearn import GridSearchCV, LogisticRegression

CS = [0.001, 0.01, 0.1, 1, 10, 100]
SETS = {
    "iris": (datasets.load_iris, False),
    "wine": (datasets.load_wine, True),
    "breast cancer": (datasets.load_breast_cancer, True),
}


def grid(**values):
    return {f"logisticregression__{name}": own for name, own in values.items()}


def model(estimator, scaled):
    return make_pipeline(StandardScaler() if scaled else "passthrough", estimator)


def compare(name, cv):
    """Both searches on one data set; returns a table of their mean test scores, a row a setting."""
    load, scaled = SETS[name]
    x, y = load(return_X_y=True)
    train, test, y_train, y_test = model_selection.train_test_split(
        x, y, test_size=0.2, random_state=0, stratify=y
    )
    ours = GridSearchCV(
        model(LogisticRegression(), scaled), grid(C=CS, penalty=["l1", "l2"]), cv=cv
    )
    saga = linear_model.LogisticRegression(solver="saga", max_iter=5000, random_state=0)
    theirs = model_selection.GridSearchCV(
        model(saga, scaled), grid(C=CS, l1_ratio=[1.0, 0.0]), cv=cv, n_jobs=2
    )
    seconds = []
    for search in (ours, theirs):
        began = time.perf_counter()
        search.fit(train, y_train)
        seconds.append(time.perf_counter() - began)
    print(f"\n{name}: {len(train)} rows, {cv} folds\n")
    scores = [search.cv_results_["mean_test_score"] for search in (ours, theirs)]
    settings = [(name, C, penalty) for C in CS for penalty in ("l1", "l2")]
    table = pd.DataFrame(settings, columns=["set", "C", "penalty"])
    table["vtune"], table["scikit-learn"] = scores
    print(table.drop(columns="set").round(4).to_string(index=False))
    for who, search, took in zip(("vtune", "scikit-learn"), (ours, theirs), seconds, strict=True):
        chosen = {k.split("__")[1]: v for k, v in search.best_params_.items()}
        print(
            f"{who}: best {search.best_score_:.4f} with {chosen}, test accuracy "
            f"{search.score(test, y_test):.4f}, {took:.1f} s"
        )
    print(f"largest gap {np.abs(scores[0] - scores[1]).max():.4f}")
    return table


def figure(table):
    """The score of every setting of both searches against C, a panel a data set."""
    sets = list(dict.fromkeys(table["set"]))
    figure = Figure(figsize=(3.2 * len(sets), 3), layout="constrained")
    for name, axes in zip(sets, figure.subplots(1, len(sets), squeeze=False).flat, strict=True):
        for penalty, colour, marker in (("l1", "#d55e00", "o"), ("l2", "#0072b2", "s")):
            own = table[(table["set"] == name) & (table["penalty"] == penalty)]
            axes.plot(own["C"], own["vtune"], color=colour, label=f"{penalty}, vtune")
            axes.plot(
                own["C"], own["scikit-learn"], marker, color=colour, markerfacecolor="none",
                label=f"{penalty}, scikit-learn",
            )  # fmt: skip
        axes.set(title=name, xscale="log", xlabel="C")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy over the folds")
    figure.axes[0].legend(fontsize="x-small")
    return figure


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--cv", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/iris_logistic"))
    options = parse(parser, argv, sets=["iris"], cv=3)
    warnings.simplefilter("ignore", ConvergenceWarning)  # saga's, where C is large
    table = pd.concat([compare(name, options.cv) for name in options.sets], ignore_index=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "table.csv", index=False)
    figure(table).savefig(options.out / "figure.png", dpi=150)
    print(f"results: {options.out.resolve()}")


if __name__ == "__main__":
    vt.use_all_cores()
    main()
