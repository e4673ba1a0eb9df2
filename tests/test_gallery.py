"""What experiments say of themselves, the pages made of it, and the script that runs them all."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCSTRING = '''"""A title: what is done.

Command:   python experiments/{name}.py --data ../shared/data/mnist10k   (or: otherwise)
Data:      digits.
Time:      90 s on 2 CPU cores: 14 s to compile
Result:    accuracy 0.983 (lr 0.01; 64), far
           above 0.5; the rest. More
Output:    runs/{name}
Picture:   curves of 256
           members
"""

if __name__ == "__main__":
    {body}
'''


@pytest.fixture
def docstrings(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("docstrings")


@pytest.fixture
def gallery(docstrings):
    return importlib.import_module("gallery")


@pytest.fixture
def runner(gallery):
    return importlib.import_module("run_experiments")


@pytest.fixture
def written(tmp_path):
    """Writes an experiment with so many changes of its text; returns the file."""

    def written(name="own", body="pass", **changes):
        text = DOCSTRING.format(name=name, body=body)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        return file

    return written


def test_the_committed_pages_are_what_the_script_writes(gallery, docstrings):
    for file, text in gallery.pages(docstrings.every()).items():
        assert file.read_text(encoding="utf-8") == text, "run: python scripts/gallery.py"


def test_every_experiment_says_what_its_pages_need(docstrings):
    found = docstrings.every()
    runnable = [
        file.stem
        for file in (ROOT / "experiments").glob("*.py")
        if "def main(" in file.read_text(encoding="utf-8")
    ]
    assert sorted(found) == sorted(runnable)
    for experiment in found.values():
        assert len(experiment.picture) > 30, experiment.name
        assert re.search(r"\d", experiment.finding), experiment.name


def test_fields_are_read(docstrings, written, tmp_path):
    written()
    (tmp_path / "helper.py").write_text('"""Helps."""\n')
    assert docstrings.every(tmp_path) == {
        "own": docstrings.Experiment(
            name="own",
            title="A title",
            lead="what is done",
            command="python experiments/own.py --data ../shared/data/mnist10k",
            seconds=90,
            result="accuracy 0.983 (lr 0.01; 64), far above 0.5; the rest. More",
            picture="curves of 256 members",
        )
    }
    found = docstrings.read(written(**{"90 s": "about 3 min", "A title: what": "Titles that"}))
    assert (found.title, found.lead) == ("Titles that is done", "")
    assert (found.seconds, found.time) == (180, "3 min")
    assert found.finding == "accuracy 0.983 (lr 0.01; 64), far above 0.5"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({'"""A': 'text = """A'}, r"own\.py is missing"),
        ({"Picture:": "Pictures:"}, "own.py has no field `Picture:`"),
        ({"accuracy 0.983 (lr 0.01; 64), far\n           above 0.5; the rest. More": ""}, "Result"),
        ({"experiments/own": "experiments/other"}, "write `python experiments/own.py ...`"),
        ({"90 s": "a minute"}, "time 'a minute on 2 CPU cores: 14 s to compile'; begin"),
        ({"curves of": "[curves] of"}, r"in its field `Picture:`"),
        ({"accuracy 0": "a | b 0"}, r"has a \| in its field `Result:`"),
    ],
)  # fmt: skip
def test_a_docstring_of_another_form(docstrings, written, changes, says):
    with pytest.raises(ValueError, match=says):
        docstrings.read(written(**changes))


def test_every_experiment_has_a_place(gallery, docstrings):
    found = docstrings.every()
    own = found["digits"]._replace(name="own")
    with pytest.raises(ValueError, match=r"experiments/own\.py is in none of GROUPS"):
        gallery.grouped({**found, "own": own})
    del found["digits"]
    with pytest.raises(ValueError, match=r"'digits'; no experiments/digits\.py"):
        gallery.grouped(found)
    with pytest.raises(ValueError, match=r"no docs/pictures/own\.png; run `python experiments/dig"):
        gallery.entry(own)
    with pytest.raises(ValueError, match="lacks the lines `<!-- experiments: written"):
        gallery.filled("a page", "experiments", "text")


def test_an_entry(gallery, docstrings):
    experiment = docstrings.every()["digits"]._replace(
        title="Title", lead="what is done", result="Found 0.9; more", picture="A curve", seconds=150
    )
    assert gallery.entry(experiment).split("\n\n") == [
        "### Title",
        "What is done. Found 0.9; more.",
        "![A curve](pictures/digits.png)",
        "`python experiments/digits.py`, 2.5 min; [the file](../experiments/digits.py)",
    ]
    assert gallery.cell(experiment) == (
        "![A curve](docs/pictures/digits.png) **Title**: Found 0.9; 2.5 min "
        "([`experiments/digits.py`](experiments/digits.py))"
    )


def test_all_are_run_though_one_fails(runner, docstrings, written, tmp_path, monkeypatch, capfd):
    """Each by its own command; the last says so, and what took how long."""
    folder = tmp_path / "repository" / "experiments"
    folder.mkdir(parents=True)
    saying = "import os, sys; print(sys.argv[1:], os.listdir(os.environ['VTUNE_CACHE_DIR']))"
    written("digits", "import sys; sys.exit('no data')").rename(folder / "digits.py")
    written("sms_spam", saying).rename(folder / "sms_spam.py")
    found = docstrings.every(folder)
    monkeypatch.setenv("VTUNE_DATA", "/elsewhere")
    monkeypatch.setattr(runner, "ROOT", folder.parent)
    monkeypatch.setattr(runner, "every", lambda: found)
    monkeypatch.setattr(runner, "grouped", lambda found: {"": list(found.values())})
    assert runner.main(["--quick"]) == 1
    out, err = capfd.readouterr()
    for row in (
        r"digits +│ failed +│ +0 │ +90 s",
        r"sms_spam +│ +│ +0 │ +90 s",
        r"all +│ +│ +[01] ",
    ):
        assert re.search(row, out), row
    assert "no data" in err
    assert "failed: digits;" in err
    log = (folder.parent / "runs/quick/sms_spam.txt").read_text()
    assert "'--data', '/elsewhere/mnist10k', '--quick', '--out', 'runs/quick/sms_spam'] []" in log
    assert runner.main(["--quick", "sms_spam"]) == 0
    assert "digits" not in capfd.readouterr().out
    with pytest.raises(SystemExit):
        runner.main(["digit"])
    assert "'digit' is none of digits, sms_spam" in capfd.readouterr().err


def test_links_to_experiments_lead_to_pages_of_the_site(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    leads = importlib.import_module("site_sources").on_page_markdown
    assert leads("[a](../experiments/digits.py)") == "[a](experiments/digits.md)"
    assert leads("[a](../../experiments/digits.py)") == "[a](../experiments/digits.md)"
    assert leads("[a](../guides/data.md)") == "[a](../guides/data.md)"
