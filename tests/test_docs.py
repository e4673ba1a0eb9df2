"""The README's Python blocks and the docstrings' examples run as printed."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import vtune

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(vtune.__path__, "vtune.")]


@pytest.mark.slow
def test_readme_runs_as_printed(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    assert len(list(filter(str.strip, blocks[0].splitlines()))) <= 30  # as its heading says
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vtune, "use_all_cores", lambda: 2)  # JAX has started here
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["sweep"].best.score > 0.9
    h = vtune.Hparams({"lr": 0.1, "weight_decay": 0.0}, {"width": 4})
    batch = {"x": np.ones((2, 64), np.float32), "y": np.zeros(2, np.int32)}
    state = names["learner"].init(vtune.member_key(0, 0), h, batch)  # the nnx model's
    assert state.params["hidden"]["kernel"].shape == (64, 4)
    assert "Member(" in capsys.readouterr().out
    assert (tmp_path / "runs" / "readme" / "manifest.json").exists()


@pytest.mark.slow
def test_the_page_on_refiners_runs_as_printed(capsys):
    """Its own refiner, too."""
    text = (ROOT / "docs/guides/refiners.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    names: dict = {}
    exec(compile(blocks[0], "refiners.md", "exec"), names)
    assert names["sweep"].best.score > 0.9
    exec(compile(blocks[1], "refiners.md", "exec"), names)
    assert names["halved"].n_candidates_ == [16, 6, 2]
    assert len(names["sweep"]) == names["hyper"].size
    exec(compile(blocks[2], "refiners.md", "exec"), names)
    own = blocks[2][blocks[2].index("@jax") : blocks[2].index("sweep =")]
    assert len(list(filter(str.strip, own.splitlines()))) <= 30
    drifted, first = names["sweep"], names["sweep"].settings["lr"][0]
    spread = lambda rates: np.ptp(np.log(rates))
    assert spread(drifted.settings["lr"][-1]) < 0.5 * spread(first)
    assert (drifted.parents[1:] != np.arange(16)).sum() == 7  # one copy a round


@pytest.mark.slow
def test_the_page_on_hyperparameters_runs(capsys):
    """With two structures in the place of eight."""
    text = (ROOT / "docs/guides/hyperparameters.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for choices, fewer in (('["relu", "tanh"]', '["tanh"]'), ("[16, 64]", "[16]")):
        assert choices in block
        block = block.replace(f"Categorical({choices})", f"Categorical({fewer})")
    names: dict = {}
    exec(compile(block, "hyperparameters.md", "exec"), names)
    assert names["both"].score >= names["sweep"].best.score > 0.9
    for path in re.findall(r"`vt\.([\w.]+)", text):  # what the table names is there
        found = vtune
        for part in path.rstrip(".").split("."):
            found = getattr(found, part)


@pytest.mark.slow
def test_the_page_on_data_runs_as_printed(capsys):
    text = (ROOT / "docs/guides/data.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(block, "data.md", "exec"), names)
    assert names["sweep"].best.score > 0.4  # of scikit-learn's LinearRegression: 0.36 to 0.5
    columns, frame = names["columns"], names["frame"]
    assert columns.numeric_names[-1] == "bmi missing"
    new = frame.iloc[:9, ::-1].assign(more=1)  # columns in another order
    for row in (columns.transform(frame), columns.transform(new)):
        predicted = np.asarray(names["sweep"].predict(row))[:9]
        expected = np.asarray(names["sweep"].predict(columns.transform(frame.head(9))))
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.mark.slow
def test_the_page_on_callbacks_runs(tmp_path, monkeypatch, capsys):
    """But for the loggers, whose libraries need not be there."""
    text = (ROOT / "docs/guides/callbacks.md").read_text()
    sweep, loggers = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(sweep, "callbacks.md", "exec"), names)
    assert names["sweep"].best.status.startswith("stopped after round")
    own = sweep[sweep.index("class") : sweep.index("sweep =")]
    assert len(list(filter(str.strip, own.splitlines()))) <= 15
    assert "member " in capsys.readouterr().out
    assert (tmp_path / "runs/digits/history.csv").exists()
    for name in re.findall(r"vt\.log\.(\w+)", loggers):
        assert hasattr(vtune.log, name)


@pytest.mark.slow
def test_the_page_on_plots_runs(tmp_path, monkeypatch):
    text = (ROOT / "docs/guides/plots.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "plots.md", "exec"), {})
    saved = {path.name for path in tmp_path.iterdir()}
    assert saved == {"axis.png", "isolation.png", "curves.svg", "both.png"}
    named = re.findall(r"`(\w+)\(", text.split("| question | plot |")[1].split("## ")[0])
    assert set(named) == set(vtune.plots.__all__)


@pytest.mark.slow
def test_the_page_on_training_scripts_runs(capsys):
    text = (ROOT / "docs/start/training_script.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "from_a_training_script.md", "exec"), names)
    assert names["sweep"].best.score > 0.8


def test_readme_names_files_that_are_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text() for page in pages)
    for path in set(re.findall(r"\b(?:experiments|scripts|docs|vtune|tests)/[\w/.]+\w", text)):
        assert (ROOT / path).exists(), path


def test_the_page_on_refiners_names_what_a_refiner_may_have():
    optional = vtune.Refiner.__doc__.split("Optional attributes:")[1]
    names = re.findall(r"^ +(\w+): ", optional, re.MULTILINE)
    page = (ROOT / "docs/guides/refiners.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in page] == []
    assert "keeps_hparams" in names


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_public_names_have_docstrings():
    for name in vtune.__all__:
        assert getattr(vtune, name).__doc__, name
