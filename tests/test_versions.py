"""What says which version this is agrees, and the page on versions has the lowest ones."""

import re
import tomllib
from pathlib import Path

import vtune as vt

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CITATION = (ROOT / "CITATION.cff").read_text()


def cited(name):
    """A value of CITATION.cff, whose values are on lines of their own."""
    (value,) = re.findall(rf'^{name}: "?(.*?)"?$', CITATION, re.MULTILINE)
    return value


def test_versions_agree():
    assert PROJECT["version"] == cited("version") == vt.__version__


def test_the_citation_says_what_the_package_says():
    assert cited("license") == PROJECT["license"]
    assert cited("title").startswith(f"{PROJECT['name']}: ")
    for author in PROJECT["authors"]:
        assert f"  - name: {author['name']}\n" in CITATION
    assert re.findall("  - (.*)", CITATION.split("keywords:\n")[1]) == PROJECT["keywords"]


def test_the_lowest_python_is_the_same_everywhere():
    lowest = PROJECT["requires-python"].removeprefix(">=")
    pythons = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if ":: 3." in c]
    assert pythons[0] == lowest == PYPROJECT["tool"]["mypy"]["python_version"]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")


def test_the_page_on_versions_has_the_lowest():
    """Those that pyproject.toml allows; the table's `0.10.0` is one of `>=0.10`."""
    page = (ROOT / "docs" / "versions.md").read_text()
    rows = dict(re.findall(r"^\| (\S+) \| ([\d.]+) \|", page, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    used = [r for e in ("sklearn", "plot", "tensorboard") for r in extras[e]]
    for requirement in PROJECT["dependencies"] + used:
        name, lowest = requirement.split(">=")
        padded = lowest + ".0" * (2 - lowest.count("."))
        assert rows[name] == padded, name
