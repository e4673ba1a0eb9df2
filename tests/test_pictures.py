"""The documentation's pictures, and the script that draws them."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import vtune as vt

ROOT = Path(__file__).parents[1]
GALLERY = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("pictures")


def test_bars_are_the_committed_figures(pictures):
    result = json.loads(pictures.BENCH.read_text())
    (axes,) = pictures.bars(result).axes
    drawn = sorted(bar.get_width() for bar in axes.patches)
    wanted = [
        row["runners"][runner]["us"]
        for name, row in result["workloads"].items()
        for runner in pictures.RUNNERS
        if name != "Transformer" and runner in row["runners"]
    ]
    assert len(drawn) == 23
    np.testing.assert_allclose(drawn, sorted(wanted))
    texts = {text.get_text() for text in axes.texts}
    assert {"74.4 µs", "903 µs,  12.6 × vtune's", "1.6 s,  113 × vtune's"} <= texts


@pytest.mark.parametrize(
    ("us", "text"), [(74.377, "74.4 µs"), (446.2, "446 µs"), (14075.0, "14.1 ms"), (1.6e6, "1.6 s")]
)
def test_times_in_few_digits(pictures, us, text):
    assert pictures.shown(us) == text


def test_the_gallery_has_every_plot(pictures):
    for name in vt.plots.__all__:
        assert f"](pictures/plot_{name}.png)" in GALLERY, name
        assert f"`sweep.plot.{name}(" in GALLERY, name
    assert {name for name, _, _ in pictures.PLOTS} | {"folds"} == set(vt.plots.__all__)


def test_every_picture_is_drawn_by_the_script_small_and_described(pictures):
    shown = re.findall(r"!\[([^]]*)\]\(pictures/(\w+)\.png\)", GALLERY)
    drawn = {f"plot_{name}" for name in vt.plots.__all__} | set(pictures.every())
    assert {name for _, name in shown} <= drawn
    for description, name in shown:
        assert len(description) > 30, name
        assert (pictures.PICTURES / f"{name}.png").stat().st_size <= pictures.LARGEST, name
