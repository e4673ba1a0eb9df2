"""The bench scripts run, in this process and with little work: times are not looked at."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import vtune as vt

SCRIPTS = Path(__file__).parents[1] / "scripts"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    for folder in ("benchmarks", "quality"):
        monkeypatch.syspath_prepend(SCRIPTS / folder)


def test_bench_quick(tmp_path, capsys):
    bench = importlib.import_module("bench")
    bench.bench(bench.arguments(["--quick", "--out", str(tmp_path)]))
    assert "1,000 rounds of PBT" in capsys.readouterr().out
    measured = json.loads((tmp_path / "bench.json").read_text())
    assert set(measured["workloads"]["CNN"]["runners"]) >= {"vtune", "plain", "loop"}
    kernels = measured["workloads"]["MLP-32"]["kernels"]
    quickest = {}  # one turn, so that medians are what was seen
    for name, us in kernels["alone"].items():
        part = name.split(":")[0]
        quickest[part] = min(us, quickest.get(part, us))
    assert len(quickest) == 5
    assert kernels["us"] == pytest.approx(sum(quickest.values()))
    assert "| MLP-32, batch 8 × 2 | vtune |" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "bench.png").stat().st_size > 0
    alone = measured["populations"]["workloads"]["MLP-32"]["members"]["1"]
    assert min(alone[key] for key in ("vtune", "plain", "by_bytes", "kernels")) > 0


def test_structure_quick(capsys):
    importlib.import_module("structure").main(["--quick"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["sweep", "loop", "shared"]
    accuracy = [float(row[4]) for row in rows]  # the same work, from other draws
    assert max(accuracy) - min(accuracy) < 0.03


def test_search_quick(capsys):
    importlib.import_module("search").main(["--quick"])
    printed = capsys.readouterr().out
    assert "| 32 | cold |" in printed
    assert "| 32 | best accuracy |" in printed


def test_quality_quick(tmp_path, capsys):
    """Searches of the table of settings; nothing is run twice."""
    quality = importlib.import_module("quality")
    call = ["--quick", "--store", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path)]
    quality.main(call)
    assert capsys.readouterr().out.count(" s\n") == 20  # two tasks, five methods, two seeds
    page = (tmp_path / "quality.md").read_text()
    quality.main(call)
    assert capsys.readouterr().out.strip() == page.strip()
    assert (tmp_path / "quality.png").stat().st_size > 0
    found = json.loads((tmp_path / "quality.json").read_text())
    assert np.isfinite(found["best"]).all()
    table = importlib.import_module("grid").errors(importlib.import_module("grid").read())
    for task, losses in enumerate(found["best"]):
        assert np.min(losses) >= table[task, ..., -1].min() - 1e-6
    assert np.max(found["spent"]) <= 16  # whole trainings


def test_optuna_alone_trains_the_members_of_a_sweep():
    one_by_one, tasks = (importlib.import_module(name) for name in ("one_by_one", "tasks"))
    task = tasks.task("iris, linear")
    sweep = task.tune(search=vt.Halton(4), seed=3)
    train = one_by_one.trainer(task, 3)
    for member in sweep:
        setting = {name: member.hparams[name] for name in task.space}
        assert train(member.index, setting)[0] == pytest.approx(member.score, abs=1e-5)


def test_statistics_of_quality():
    """Demšar's own example: four methods on 14 data sets, 2.569 from his table; 2.949 of seven."""
    ranks, known = (importlib.import_module(name) for name in ("ranks", "known"))
    assert ranks.critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(20 / 84), abs=1e-3)
    assert ranks.critical_difference(7, 20) == pytest.approx(2.949 * np.sqrt(56 / 120), abs=1e-3)
    losses = np.array([[1.0, 2.0, 3.0, 3.0]] * 14)
    found = ranks.ranks(losses)
    assert found.mean.tolist() == [1.0, 2.0, 3.5, 3.5]
    assert ranks.groups(found.mean, found.critical) == [(0, 1), (2, 3)]
    points = np.array([[1.0, 10.0], [10.0, 1.0], [10.5, 10.5], [12.0, 0.0]])
    assert known.hypervolume(points) == 10 + 9 + 1 - 1
    for name, at, least in (
        ("Branin", [np.pi, 2.275], 0.397887),
        ("Hartmann-6", [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573], -3.32237),
    ):
        assert float(known.FUNCTIONS[name].value(at)) == pytest.approx(least, abs=1e-5)


def test_the_page_of_quality_is_that_of_its_figures():
    """And its figures say of the searches what `docs/benchmarks/README.md` says."""
    outcome, ranks, tables = map(importlib.import_module, ("outcome", "ranks", "tables"))
    folder = SCRIPTS.parent / "docs" / "benchmarks" / "quality"
    found = outcome.of_json((folder / "quality.json").read_text())
    assert tables.page(found) == (folder / "quality.md").read_text()
    assert np.shape(found["best"]) == (20, 7, 10)  # tasks, methods, seeds
    own = ranks.ranks(found["best"].mean(axis=2))
    rank = dict(zip(found["methods"], own.mean, strict=True))
    assert rank["TPE by generations"] < rank["TPE one by one"] + own.critical
    assert rank["TPE by generations"] < rank["Random"] - own.critical
    assert rank["Halton"] < rank["Random"] + own.critical


def test_the_table_of_chips_is_that_of_its_figures(tmp_path):
    """And in it vtune moves no more than a plain vmapped scan."""
    tables = importlib.import_module("chip_tables")
    folder = SCRIPTS.parent / "docs" / "benchmarks" / "chips"
    result = json.loads((folder / "chips.json").read_text())
    tables.write(result, tmp_path)
    assert (tmp_path / "chips.md").read_text() == (folder / "chips.md").read_text()
    assert (tmp_path / "chips.png").stat().st_size > 0
    pairs = [
        (row["vtune"]["bytes_per_member"], row["plain"]["bytes_per_member"])
        for case in result["cases"].values()
        for row in case.values()
        if "plain" in row
    ]
    assert len(pairs) == 18
    assert all(ours < 1.01 * plain for ours, plain in pairs)
    full, half = (result["cases"][f"CNN{kind} × 64"] for kind in ("", " in bfloat16"))
    for chip in full:  # activations are most of what it moves
        moved = [case[chip]["vtune"]["bytes"] for case in (full, half)]
        assert moved[1] < 0.65 * moved[0]
    for case in result["cases"].values():
        assert not any(row["vtune"]["step_collectives"] for row in case.values())
    for chip in full:  # frozen weights are read once, whatever the population
        cases = [result["cases"][f"adapters, 1.7 M weights × {members}"] for members in (1, 8, 32)]
        one, eight, many = (case[chip]["vtune"]["bytes_per_member"] for case in cases)
        assert one > eight > many


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("cold", ("alone", "MLP-32", {})),
        ("structure", ("shared",)),
        ("search", ("scikit-learn", 32)),
    ],
)
def test_benchmarks_start_processes_of_their_own(name, run):
    assert importlib.import_module(name).in_process(*run, quick=True)
