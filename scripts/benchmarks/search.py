"""GridSearchCV of vtune.sklearn beside scikit-learn's, scoring and refit included.

    python scripts/benchmarks/search.py            9 minutes on two cores
    python scripts/benchmarks/search.py --quick    one small setting, a smoke check

16 learning rates x 5 folds x 30 epochs of an MLP with 64 hidden units on scikit-learn's digits, by
Adam, in batches of 32, 64 and 200 rows (scikit-learn's default). Each way and batch size runs in a
process of its own, with no compilation cache: the first search is cold, from the end of the imports
on; the others are warm, of which the median counts. scikit-learn has two processes (`n_jobs=2`, one
BLAS thread each, as joblib sets it), and its early stopping is off: all take 30 epochs. With
--quick all run in this process, for two epochs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from typing import Any

RATES, FOLDS, EPOCHS, WIDTH, BATCHES, AGAIN = 16, 5, 30, 64, (32, 64, 200), 5


def search_of(way: str, rates: int, folds: int, epochs: int, batch: int) -> Any:
    """A search, not fitted."""
    import numpy as np

    values = np.geomspace(1e-4, 1e-1, rates).tolist()
    if way == "vtune":
        from vtune.sklearn import FlaxClassifier, GridSearchCV

        model = FlaxClassifier(
            module__width=WIDTH, batch_size=batch, max_epochs=epochs, random_state=0
        )
        return GridSearchCV(model, {"lr": values}, cv=folds)
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        WIDTH, batch_size=batch, max_iter=epochs, n_iter_no_change=epochs + 1, random_state=0
    )
    return GridSearchCV(model, {"learning_rate_init": values}, cv=folds, n_jobs=2)


def measured(way: str, batch: int, quick: bool) -> dict[str, Any]:
    """Seconds of every search, and the mean test scores."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    rates, folds, epochs = (2, 2, 2) if quick else (RATES, FOLDS, EPOCHS)
    search = search_of(way, rates, folds, epochs, batch)
    seconds = []
    for _ in range(2 if quick else 1 + AGAIN):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 30 epochs are not enough to converge
            search.fit(x, y)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "scores": search.cv_results_["mean_test_score"].tolist()}


def in_process(way: str, batch: int, quick: bool = False) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--batch", str(batch)]
    environment = {**os.environ, "VTUNE_CACHE_DIR": "off"}
    done = subprocess.run(
        command + ["--quick"] * quick, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--way", choices=("vtune", "scikit-learn"))
    parser.add_argument("--batch", type=int)
    options = parser.parse_args(argv)
    if options.way:
        if options.way == "vtune":
            import vtune as vt

            vt.use_all_cores()
        print(json.dumps(measured(options.way, options.batch, options.quick)))
        return
    print("| batch | | vtune, s | scikit-learn, s | times as fast |\n|---|---|---|---|---|")
    for batch in BATCHES[: 1 if options.quick else None]:
        run = measured if options.quick else in_process
        ways = [run(way, batch, options.quick) for way in ("vtune", "scikit-learn")]
        for name, pick in (("cold", lambda s: s[0]), ("warm", lambda s: statistics.median(s[1:]))):
            ours, theirs = (pick(way["seconds"]) for way in ways)
            print(f"| {batch} | {name} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")
        ours, theirs = (way["scores"] for way in ways)
        gaps = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        print(
            f"| {batch} | best accuracy | {max(ours):.4f} | {max(theirs):.4f} | mean gap of a "
            f"setting {statistics.mean(gaps):.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
