"""The experiments run in this process, on few rows, with few members."""

import csv
import gzip
import importlib
import os
import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import vtune as vt

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("VTUNE_DATA", ROOT.parent / "shared" / "data"))

# Warnings are not errors: a few members cannot try every combination.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def full_folder(name):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set VTUNE_DATA to a folder with {name}")
    return folder


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """The first 400 digits of MNIST, in IDX format as the whole."""
    folder = tmp_path_factory.mktemp("mnist")
    for file in full_folder("mnist10k").iterdir():
        rows = vt.read_idx(file)[:400]
        header = struct.pack(f">HBB{rows.ndim}I", 0, 8, rows.ndim, *rows.shape)
        (folder / file.name).write_bytes(gzip.compress(header + rows.tobytes()))
    return folder


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """The first 600 messages of the SMS Spam Collection."""
    folder, name = tmp_path_factory.mktemp("sms"), "SMSSpamCollection"
    lines = (full_folder("sms_spam") / name).read_text(encoding="utf-8").splitlines()
    (folder / name).write_text("\n".join(lines[:600]), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an experiment's `main`; returns what it prints, and the folder that it writes."""
    monkeypatch.syspath_prepend(ROOT / "experiments")

    def run(name, **options):
        out = tmp_path / "run"
        given = {"quick": True, "out": out, **options}
        flags = [f"--{k}" if v is True else f"--{k}={v}" for k, v in given.items()]
        importlib.import_module(name).main(flags)
        printed = capsys.readouterr()
        assert "best of" in printed.out
        if name not in ("tabular", "ensembles"):  # these show no progress
            assert "compiled in" in printed.err
        return printed.out, out

    return run


def check_files(out):
    for name in ("manifest.json", "table.csv", "figure.png"):
        assert (out / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digits", "the 5 best of 2 settings"),
        ("tabular", "MSE, Ridge: mean "),
        ("ensembles", "greedy, 8,"),
        ("finetune", "5 to 9 from"),
        ("adversarial", "best by robust accuracy: "),
    ],
)
def test_experiments_on_bundled_data(name, says, run):
    printed, out = run(name)
    assert says in printed
    check_files(out / "diabetes" if name == "tabular" else out)
    assert (out / "figure.png").stat().st_size > 0


def test_linear_probe(run):
    printed, out = run("linear_probe", ways="copies,solo")
    assert "one setting after the other" in printed
    check_files(out)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mnist_mlp", "results: "),
        ("keras_mlp", "the tutorial's setting: 0."),
        ("mnist_cnn", "results: "),
        ("pbt_mnist", "mean {'plain': "),
        ("pb2_mnist", "mean {'plain': "),
        ("detection", "one setting after the other, width 4: "),
        ("halving_mnist", "member-epochs: 10 of 18"),
    ],
)
def test_experiments_on_mnist(name, says, mnist, run):
    printed, out = run(name, data=mnist)
    assert says in printed
    check_files(out)
    if name == "pbt_mnist":
        assert len((out / "schedule.csv").read_text().splitlines()) == 3
    if name == "halving_mnist":
        assert "rungs: [6, 2] members, to the end of [1, 3] epochs" in printed


def test_sms_spam(messages, run):
    printed, out = run("sms_spam", data=messages)
    assert "F1 of spam on the held-out fifth" in printed
    check_files(out)


def test_lora_text(messages, run):
    printed, out = run("lora_text", data=messages, ways="solo")
    for says in ("bits a byte", "spam on the held-out fifth: ", "one setting after the other"):
        assert says in printed
    check_files(out)


def test_pbt_control(run):
    printed, out = run("pbt_control", quick=True)
    assert "programs compiled for 3 sweeps: 1\n" in printed
    gain = float(printed.split("PBT over plain: ")[1].split()[0])
    assert gain > 50  # of a learning rate that lets agents learn
    assert "of the fastest without vtune" in printed
    check_files(out)
    assert len((out / "seeds.csv").read_text().splitlines()) == 2


def test_char_lm(messages, run):
    printed, out = run("char_lm", data=messages, quick=True)
    ours, unigram, fivegram = (
        float(re.search(pattern, printed)[1])
        for pattern in (r"messages: ([\d.]+) bits", r"unigram ([\d.]+)", r"5-gram ([\d.]+)")
    )
    assert fivegram < ours < unigram - 0.3  # of 2 settings, 2 epochs of 500 messages
    assert printed.count("  writes: ") == 3
    assert "one setting after the other" in printed
    check_files(out)


def test_forecast(run):
    pytest.importorskip("statsmodels")
    printed, out = run("forecast", quick=True)
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert Counter(row["part"] for row in rows) == {"fold 1": 5, "fold 2": 5, "last years": 5}
    errors = {row["way"]: float(row["mae"]) for row in rows if row["part"] == "fold 2"}
    networks = [error for way, error in errors.items() if way.startswith("GRU, ")]
    assert len(networks) == 2
    assert max(networks) < errors["naive"]
    assert errors["mean of the month"] < errors["seasonal naive"] < errors["naive"]
    assert "one setting after the other" in printed
    check_files(out)


def test_recommend(run, tmp_path):
    """What is learned predicts better than the mean rating; files of MovieLens are read."""
    printed, out = run("recommend", quick=True, ways="solo")
    for says in ("RMSE ", "NDCG@10 of popularity", "one setting after the other"):
        assert says in printed
    learned, mean, best = (
        float(re.search(rf"{name} (\d\.\d+)", printed)[1])
        for name in ("RMSE", "the mean rating", "the true factors")
    )
    assert best < learned < mean
    for name in ("manifest.json", "table.csv"):
        assert all((out / part / name).stat().st_size > 0 for part in ("explicit", "implicit"))
    assert (out / "figure.png").stat().st_size > 0
    bad = tmp_path / "u.data"
    bad.write_text("1\t2\t3\n")
    with pytest.raises(SystemExit, match=r"line 1: '1\\t2\\t3' has 3 fields"):
        importlib.import_module("recommend").main([f"--data={bad}"])


def test_an_experiment_is_a_command_and_says_what_data_it_wants(tmp_path):
    command = [sys.executable, ROOT / "experiments" / "mnist_mlp.py", "--data", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "give --data DIR or set VTUNE_DATA" in done.stderr


def test_iris_logistic(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    importlib.import_module("iris_logistic").main(["--quick", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 12
    gap = (table["vtune"] - table["scikit-learn"]).abs().max()
    assert gap < 0.03
    printed = capsys.readouterr().out
    assert printed.count("test accuracy") == 2
    assert float(re.findall(r"largest gap (\S+)", printed)[0]) == round(gap, 4)
    assert (tmp_path / "figure.png").stat().st_size > 0
