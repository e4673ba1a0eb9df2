"""The experiments run, small; the bench script runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("VTUNE_DATA", ROOT.parent / "shared" / "data"))
ENV = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=300,
    )


def check_results(done, out):
    assert done.returncode == 0, done.stderr
    assert f"results: {out}" in done.stdout
    assert "the 5 best of" in done.stdout
    assert "compiled in" in done.stderr
    for name in ("manifest.json", "table.csv", "figure.png"):
        assert (out / name).stat().st_size > 0


def test_digits(tmp_path):
    done = run("experiments/digits.py", "--members", 8, "--epochs", 2, "--out", tmp_path / "run")
    check_results(done, tmp_path / "run")


def test_mnist_mlp(tmp_path):
    folder = DATA / "mnist10k"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set VTUNE_DATA to a folder with mnist10k")
    out = tmp_path / "run"
    done = run(
        "experiments/mnist_mlp.py", "--data", folder, "--members", 6, "--epochs", 1, "--out", out
    )
    check_results(done, out)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pbt_mnist", {"members": 4, "epochs": 2, "seeds": 1}),
        ("pb2_mnist", {"members": 4, "epochs": 3, "seeds": 1}),
        ("halving_mnist", {"members": 6, "epochs": 3, "repeats": 1}),
    ],
)
def test_refiners_on_mnist(name, options, tmp_path):
    folder = DATA / "mnist10k"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set VTUNE_DATA to a folder with mnist10k")
    out = tmp_path / "run"
    given = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    done = run(f"experiments/{name}.py", "--data", folder, "--out", out, *given)
    check_results(done, out)
    if name == "pbt_mnist":
        assert "mean {'plain': " in done.stdout
        assert len((out / "schedule.csv").read_text().splitlines()) == 3
    if name == "halving_mnist":
        assert "rungs: [6, 2] members, to the end of [1, 3] epochs" in done.stdout
        assert "member-epochs: 10 of 18" in done.stdout


@pytest.mark.parametrize(
    ("name", "folder", "options", "says"),
    [
        ("keras_mlp", "mnist10k", {"members": 4, "epochs": 1}, "the tutorial's setting: 0."),
        ("mnist_cnn", "mnist10k", {"members": 1, "epochs": 1}, None),
        ("sms_spam", "sms_spam", {"members": 4, "epochs": 2}, "F1 of spam on the held-out fifth"),
        ("tabular", None, {"members": 5, "epochs": 2, "splits": 1}, "MSE, Ridge: mean "),
        ("ensembles", None, {"members": 4, "epochs": 2, "seeds": 1}, "greedy, 8,"),
        ("finetune", None, {"members": 3, "epochs": 1}, "5 to 9 from"),
        ("adversarial", None, {"members": 2, "epochs": 2}, "best by robust accuracy: "),
    ],
)
def test_every_hyperparameter(name, folder, options, says, tmp_path):
    given = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    if folder is not None:
        if not (DATA / folder).is_dir():
            pytest.skip(f"no {DATA / folder}; set VTUNE_DATA to a folder with {folder}")
        given += ["--data", str(DATA / folder)]
    out = tmp_path / "run"
    done = run(f"experiments/{name}.py", "--out", out, *given)
    assert done.returncode == 0, done.stderr
    assert "best of" in done.stdout
    assert (out / "diabetes" if name == "tabular" else out).joinpath("figure.png").is_file()
    assert says is None or says in done.stdout


def test_mnist_mlp_says_what_data_it_wants(tmp_path):
    done = run("experiments/mnist_mlp.py", "--data", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "give --data DIR or set VTUNE_DATA" in done.stderr


def test_bench_quick(tmp_path):
    done = run("scripts/bench.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1,000 rounds of PBT" in done.stdout
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


def test_structure_quick():
    done = run("scripts/benchmarks/structure.py", "--quick")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["sweep", "loop", "shared"]
    accuracy = [float(row[4]) for row in rows]  # the same work, from other draws
    assert max(accuracy) - min(accuracy) < 0.03


def test_iris_logistic():
    done = run("experiments/iris_logistic.py", "--sets", "iris", "--cv", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 2
    gap = float(done.stdout.split("largest gap ")[1])
    assert gap < 0.03


def test_the_search_benchmark_runs():
    done = run("scripts/benchmarks/search.py", "--quick")
    assert done.returncode == 0, done.stderr
    assert "| 32 | cold |" in done.stdout
    assert "| 32 | best accuracy |" in done.stdout
