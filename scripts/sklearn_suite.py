"""Runs scikit-learn's own tests of its searches with vtune's searches in their place.

    python scripts/sklearn_suite.py               all runs, some ten minutes on two cores
    python scripts/sklearn_suite.py --only searches --match halving

Three runs of the installed scikit-learn's test_search.py and test_successive_halving.py:

    control      scikit-learn's classes, as they are
    searches     the four searches exchanged for vtune's, the estimators as they are
    estimators   the linear models that vtune has exchanged as well

Prints how many passed, failed and were skipped, and every test that fails where it passes in the
control. Those in `KNOWN` are listed with the reason; any other makes the script fail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
ESTIMATORS = ("LogisticRegression", "Ridge", "Lasso", "ElasticNet")
FILES = ("test_search", "test_successive_halving")
RUNS = ("control", "searches", "estimators")

# By run, tests that fail (a name up to its parameters) and why that is right or left.
KNOWN: dict[str, dict[str, str]] = {"searches": {}, "estimators": {}}


class Outcomes:
    """A pytest plugin that notes how every test ended."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = f"{Path(report.location[0]).stem}::{report.nodeid.split('::', 1)[1]}"
        if report.failed or (report.when == "call" or report.skipped):
            self.ended[name] = report.outcome
        if report.failed:
            self.reasons[name] = str(report.longrepr).strip().splitlines()[-1][:160]


def exchange(run: str) -> None:
    """Puts vtune's classes into scikit-learn's modules, where its tests import them from."""
    import sklearn.linear_model
    import sklearn.model_selection

    import vtune.sklearn as ours

    for name in SEARCHES:
        setattr(sklearn.model_selection, name, getattr(ours, name))
    for name in ESTIMATORS if run == "estimators" else ():
        setattr(sklearn.linear_model, name, getattr(ours, name))


def run_tests(run: str, match: str | None, file: Path) -> None:
    """Runs the tests in this process and writes how they ended."""
    import pytest

    if run != "control":
        exchange(run)
    outcomes = Outcomes()
    options = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "--tb=short"]
    options += ["-k", match] if match else []
    tests = [f"sklearn.model_selection.tests.{name}" for name in FILES]
    pytest.main([*options, "--pyargs", *tests], plugins=[outcomes])
    file.write_text(json.dumps([outcomes.ended, outcomes.reasons]))


def outcomes_of(run: str, match: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Returns how every test of a run ended, and why it failed, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcomes.json"
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--only",
            run,
            "--into",
            str(file),
        ]
        command += ["--match", match] if match else []
        paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # results, not speed
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if not file.exists():
            sys.exit(f"{run}: {done.stdout}\n{done.stderr}")
        ended, reasons = json.loads(file.read_text())
    return ended, reasons


def report(run: str, ended: dict[str, str], reasons: dict[str, str], control: dict) -> list[str]:
    """Prints a run's table; returns the tests that fail without being known to."""
    for name in FILES:
        count = Counter(how for test, how in ended.items() if test.startswith(name))
        print(
            f"{run:12}{name:28}" + "".join(f"{count[k]:8}" for k in ("passed", "failed", "skipped"))
        )
    unknown = []
    for test, how in ended.items():
        if how != "failed" or control.get(test) == "failed":
            continue
        why = KNOWN.get(run, {}).get(test.split("::")[-1].split("[")[0])
        print(f"    {test}\n        {why or reasons[test]}")
        if why is None:
            unknown.append(test)
    return unknown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=RUNS, help="one run, beside the control")
    parser.add_argument("--match", help="as pytest's -k")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.into:
        run_tests(options.only, options.match, options.into)
        return
    print(f"{'run':12}{'file':28}" + "".join(f"{k:>8}" for k in ("passed", "failed", "skipped")))
    control: dict[str, str] = {}
    unknown: list[str] = []
    for run in RUNS:
        if options.only in (None, run) or run == "control":
            ended, reasons = outcomes_of(run, options.match)
            unknown += report(run, ended, reasons, control if run != "control" else ended)
            control = control or ended
    sys.exit(f"{len(unknown)} tests fail that should not" if unknown else 0)


if __name__ == "__main__":
    main()
