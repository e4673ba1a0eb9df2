"""`sweep.report`: one file that needs nothing else, and advice that speaks only where it should."""

import base64
import dataclasses
import hashlib
import json
import os
import re
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import vtune as vt
from vtune.command.main import main
from vtune.engine.replicates import Replicates
from vtune.report.advice import ADVICE, advice
from vtune.report.advice.count import settings_tried, too_few_settings
from vtune.report.advice.divergence import divergence
from vtune.report.advice.edges import near_an_edge
from vtune.report.advice.importance import explained, without_effect
from vtune.report.advice.spread import within_the_spread
from vtune.report.advice.training import still_improving
from vtune.report.members import history
from vtune.report.page import page
from vtune.report.pictures import chosen
from vtune.search.base import Cohort
from vtune.space.space import parse

LR = {"lr": vt.Float(1e-4, 1.0, log=True)}
RNG = np.random.default_rng(0)


def learner(names=("lr",), dead=0.5):
    """Known curves in the place of a training: the loss of lr 1e-2 is the least, and it falls with
    the steps. From `dead` on a member diverges."""

    def step(key, h, count, batch):
        return jnp.where(h["lr"] < dead, count + 1, jnp.nan), {}

    def measure(key, h, count, batch, weight):
        others = sum(h[name] * 0.0 for name in names[1:])
        return (jnp.log10(h["lr"]) + 2) ** 2 + 1 / count + others

    return vt.Learner(
        init=lambda key, h, batch: jnp.zeros(()),
        step=step,
        measure=measure,
        score=lambda total: {"loss": total},
    )


def train(members=8, rounds=4, space=LR, **options):
    given = {"search": vt.Halton(members), "steps": rounds, "rounds": rounds, **options}
    return vt.tune(given.pop("learner", LEARNER), space, metric="loss", **given, progress=False)


LEARNER = learner()


@pytest.fixture(scope="module")
def sweep():
    return train()


@pytest.fixture(scope="module")
def text(sweep):
    return page(sweep)


@pytest.fixture
def quick(monkeypatch):
    """What is in the page is of no concern."""
    monkeypatch.setattr("vtune.report.file.page", lambda sweep: "<!DOCTYPE html>")


@pytest.fixture(scope="module")
def dead():
    """The same program; every member diverges."""
    with pytest.warns(UserWarning, match="no member has a finite loss"):
        return train(search=vt.Given([{"lr": 0.5 + i / 20} for i in range(8)]))


@pytest.fixture(scope="module")
def made(sweep):
    """Makes a sweep of records, without a training."""

    def make(
        hparams,
        curves,
        *,
        space=None,
        died=(),
        splits=None,
        parents=None,
        mode="max",
        metric="score",
    ):
        """Args:
        hparams: [members] by name. curves: [rounds, members]. died: members that diverged.
        splits: [members, folds, seeds] last values.
        """
        curves = np.array(curves, np.float64)
        rounds, size = curves.shape
        hparams = {name: np.asarray(values, np.float32) for name, values in hparams.items()}
        curves[:, list(died)] = np.nan
        parsed = parse(space or {name: vt.Float(0.0, 1.0) for name in hparams})
        dead = np.full(size, -1)
        dead[list(died)] = 0
        sign = 1 if mode == "max" else -1
        trained = sweep.trained
        recorded = {metric: curves}
        replicates = None
        if splits is not None:
            recorded[f"{metric}/splits"] = np.broadcast_to(splits, (rounds, *np.shape(splits)))
            folds, seeds = np.shape(splits)[1:]
            replicates = Replicates(folds, seeds, folded=folds > 1)
        population = trained.populations[0]._replace(
            id=np.arange(size),
            hparams=hparams,
            state=None,
            score=np.where(dead >= 0, -np.inf, sign * curves[-1]),
            died=dead,
        )
        records = trained.records._replace(
            history=recorded,
            settings={name: np.tile(values, (rounds, 1)) for name, values in hparams.items()},
            parents=np.tile(np.arange(size), (rounds, 1)) if parents is None else parents,
            ends=np.full(size, rounds),
            stopped=np.full(size, -1),
            budgets=np.full(size, rounds),
        )
        plan = dataclasses.replace(
            trained.plan, rounds=rounds, metric=metric, mode=mode, replicates=replicates
        )
        return vt.Sweep(
            dataclasses.replace(
                trained,
                plan=plan,
                space=parsed,
                cohorts=(Cohort(parsed.combinations[0], np.arange(size), hparams),),
                populations=(population,),
                records=records,
            )
        )

    return make


def rising(scores, rounds=12, late=0.0):
    """Curves [rounds, members] to these scores, which rise in the first half, and by `late` each
    round in the second."""
    steps = np.arange(rounds)
    whole = np.minimum(steps / (rounds // 2), 1.0)[:, None] * np.asarray(scores)
    return whole + late * (np.maximum(steps, rounds // 2) - rounds + 1)[:, None]


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self._open = [], "", {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open = dict(attributes).get("id", "sorting") if tag == "script" else None

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open is None:
            self.text += data
        else:
            self.scripts[self._open] = data


def test_the_page_has_everything_and_needs_nothing(sweep, text):
    found = Page(text)
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"</?\w+>|\\n", found.text)  # nothing was escaped twice
    assert "http" not in text.replace("http-equiv", "")
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', text)) <= set(ids)
    held = json.loads(found.scripts["vtune-history"])
    expected = sweep.history["loss"]
    assert (held["metric"], held["mode"], held["rounds"]) == ("loss", "min", [0, 1, 2, 3])
    got = np.array(held["history"]["loss"], float)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert held["hparams"]["lr"] == [member.hparams["lr"] for member in sweep]
    digest = base64.b64encode(hashlib.sha256(found.scripts["sorting"].encode()).digest()).decode()
    policy = next(a["content"] for _, a in found.tags if "http-equiv" in a)
    assert policy.endswith(f"script-src 'sha256-{digest}'")  # or it would not run
    for part in ("Advice", "The best settings", "What was run", "All members", "drawn by Halton"):
        assert part in found.text
    rows = re.findall(r"<tr><td>(\d+)<td>(\d+)<td>([^<]*)", text.split('id="members"')[1])
    assert [int(member) for _, member, _ in rows] == sweep.ranking.tolist()
    assert [rank for rank, _, _ in rows] == [str(i + 1) for i in range(8)]
    assert float(rows[0][2]) == pytest.approx(sweep.best.score, rel=1e-4)


def test_the_same_sweep_makes_the_same_bytes(sweep, text, tmp_path):
    import matplotlib

    sweep.save(tmp_path / "run")
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path"}):
        assert page(vt.read(tmp_path / "run")) == text
        assert matplotlib.rcParams["lines.linewidth"] == 9  # the user's settings are put back


def test_a_file_is_made_with_the_folders_above_it(sweep, quick, tmp_path):
    target = tmp_path / "deep" / "er" / "a.html"
    assert sweep.report(target) is None
    assert target.read_text() == "<!DOCTYPE html>"
    assert [path.name for path in target.parent.iterdir()] == ["a.html"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_the_page_on_reports_runs(sweep, quick, tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs/guides/report.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "report.md", "exec"), {"sweep": sweep})
    assert (tmp_path / "runs" / "first.html").exists()
    assert text.split("## Advice")[1].count("\n| ") == 1 + len(ADVICE)


def test_without_matplotlib_it_says_what_to_install(sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ImportError, match=r"report needs matplotlib: pip install 'vtune\[plot\]'"):
        sweep.report(tmp_path / "new" / "a.html")
    assert not list(tmp_path.iterdir())


def test_files_are_not_written_over_and_errors_come_first(sweep, quick, tmp_path, monkeypatch):
    target = tmp_path / "a.html"
    target.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.html is there already; give overwrite=True"):
        sweep.report(target)
    with pytest.raises(IsADirectoryError, match=r"is a folder; give the name of a file, such as"):
        sweep.report(tmp_path, overwrite=True)
    with pytest.raises(NotADirectoryError, match=r"a\.html is a file, so"):
        sweep.report(target / "b.html")
    with pytest.raises(TypeError, match="report: path must be the name of a file, got 3"):
        sweep.report(3)
    with pytest.raises(TypeError, match="report: overwrite='yes' must be True or False"):
        sweep.report(target, overwrite="yes")

    def fails(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
            sweep.report(target, overwrite=True)
        with pytest.raises(OSError, match="cannot be written"):
            sweep.report(tmp_path / "new" / "b.html")
    assert target.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    sweep.report(target, overwrite=True)
    assert target.read_text() == "<!DOCTYPE html>"


def test_the_command_writes_it(sweep, quick, tmp_path, capsys):
    sweep.save(tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    target = tmp_path / "run" / "report.html"
    assert capsys.readouterr().out == f"{target}, 15 B\n"
    assert main(["report", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        f"vtune: {target} is there already; give --overwrite, or another\n"
    )
    assert main(["report", str(tmp_path / "run"), "--overwrite"]) == 0
    other = tmp_path / "other" / "b.html"
    assert main(["report", str(tmp_path / "run"), "-o", str(other)]) == 0
    assert other.read_bytes() == target.read_bytes()
    assert main(["check", str(tmp_path / "run")]) == 0  # a page in its folder harms no sweep
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no sweep" in capsys.readouterr().err


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"'><b>&amp;",
    "-->\n<!--",
    "\x00\x1b[31m\udcff",
    "$x_{$ \\frac",
    "n" * 300,
)


def test_hostile_names_stay_text(made):
    rows = RNG.random((len(HOSTILE), 12))
    space = {name: vt.Float(0.0, 1.0) for name in HOSTILE}
    space["<i>fixed"] = "</style><script>alert(2)</script>"
    space["</th>choice"] = vt.Categorical(
        ["</td><script>alert(3)</script>", "<svg onload=alert(4)>"]
    )
    metric = "</title></script><script>alert(5)</script>"
    values = dict(zip(HOSTILE, rows, strict=True))
    text = page(made(values, rising(RNG.random(12)), space=space, metric=metric))
    text.encode()
    seen = Page(text)
    known = "html head meta title style body section h1 h2 h3 p ul li table thead tbody tr th td"
    known += " dl dt dd figure figcaption div script svg g path defs use text tspan clippath rect"
    assert {tag for tag, _ in seen.tags} <= {*known.split(), "image"}
    assert sum(tag == "script" for tag, _ in seen.tags) == 2
    held = json.loads(seen.scripts["vtune-history"])
    assert held["metric"] == metric
    assert set(held["history"]) == {metric}
    for words in (*HOSTILE[:3], metric, *(f"<script>alert({i})</script>" for i in (2, 3))):
        assert words in seen.text
    assert "\\x00\\x1b[31m\\udcff" in seen.text


def test_pictures_are_those_that_make_sense(sweep, dead, made):
    names = lambda one: [picture.draw.__name__ for picture in chosen(one)]
    assert names(sweep) == ["curves", "axis", "isolation", "best_of_k", "time"]
    assert names(dead) == ["axis"]
    assert "none has a score" in page(dead)
    three = made({name: RNG.random(9) for name in "abc"}, rising(RNG.random(9)))
    assert names(three) == ["curves", "axis", "parallel", "best_of_k", "time"]
    alone = made({"a": [0.5]}, [[1.0]])
    assert names(alone) == ["axis"]
    assert page(alone).startswith("<!DOCTYPE html>")


def test_a_thousand_members_are_under_a_megabyte(made):
    names = [f"hyperparameter_{i}" for i in range(12)]
    big = made({name: RNG.random(1000) for name in names}, rising(RNG.random(1000), 30))
    trained = big.trained
    more = {f"metric_{i}": trained.records.history["score"] for i in range(4)}
    records = trained.records._replace(history={**more, **trained.records.history})
    text = page(vt.Sweep(dataclasses.replace(trained, records=records)))
    assert len(text.encode()) < 1_000_000
    assert "for want of room" in text
    assert text.count("<tr><td>") >= 1000


def test_the_history_is_cut_to_its_room(made):
    long = made({"a": RNG.random(10)}, rising(RNG.random(10), 100))
    text = history(long, 2000)
    held = json.loads(Page(text).scripts["vtune-history"])
    assert len(text) < 3000
    assert held["rounds"][-1] == 99
    np.testing.assert_allclose(
        np.array(held["history"]["score"]), long.history["score"][held["rounds"]], atol=1e-4
    )
    assert f"It has {len(held['rounds'])} of 100 rounds" in text


def test_advice_where_nothing_can_be_said(dead, made):
    (said,) = advice(dead)
    assert said.startswith("No member has a finite loss")
    good = made({"a": [0.5]}, [[1.0]], space={"a": vt.Float(0.5, 0.5)})
    assert advice(good) == []
    assert len(ADVICE) == 6


def line(n=40):
    """Values spread evenly, in the order of a shuffle."""
    return (np.arange(n) * 0.618034) % 1


def test_advice_near_an_edge(made):
    at = line()
    log = {"lr": vt.Float(1e-4, 1e-1, log=True)}
    rates = 10 ** (3 * at - 4)
    up = near_an_edge(made({"lr": rates}, rising(at), space=log))
    assert "of the best member is near the upper end of its range (0.0001 to 0.1)" in up
    assert up.endswith("others there are good too: try 0.001 to 1.")
    assert "try 1e-05 to 0.01" in near_an_edge(made({"lr": rates}, rising(-at), space=log))
    middle = made({"lr": rates}, rising(-np.abs(at - 0.5)), space=log)
    assert near_an_edge(middle) is None
    # One that is best by chance, where the others there are bad.
    alone = 1 - np.abs(at - 0.5)
    alone[np.argmax(at)] = 2.0
    assert near_an_edge(made({"lr": rates}, rising(alone), space=log)) is None
    down = made({"a": at}, rising(1 - at, late=0), space={"a": vt.Float(0.0, 1.0)})
    assert "leave it at 0, or search small values on a logarithmic scale" in near_an_edge(down)
    wide = made({"a": 1e-3 + at}, rising(1 - at), space={"a": vt.Float(1e-3, 1.001)})
    assert near_an_edge(wide).endswith("search it on a logarithmic scale (log=True).")
    top = made({"a": at}, rising(at))
    assert near_an_edge(top).endswith("try 0.5 to 1.5, if such values can be.")
    whole = made({"n": 1 + 9 * at}, rising(at), space={"n": vt.Int(1, 9)})
    assert "try 5 to 13" in near_an_edge(whole)
    ordinal = {"c": vt.Ordinal([1, 10, 100, 1000])}
    grid = made({"c": [1, 10, 100, 1000]}, rising([0.1, 0.2, 0.3, 0.4]), space=ordinal)
    assert near_an_edge(grid).endswith("add values above 1000.")
    mixed = made({"c": [1, 10, 100, 1000]}, rising([0.1, 0.3, 0.2, 0.4]), space=ordinal)
    assert near_an_edge(mixed) is None
    three = made(
        {"c": [1, 10, 100]}, rising([0.1, 0.2, 0.3]), space={"c": vt.Ordinal([1, 10, 100])}
    )
    assert near_an_edge(three) is None  # one time in three by chance


def test_advice_on_divergence(made):
    at = line()
    above = np.flatnonzero(at > 0.8)
    curves = rising(1 - np.abs(at - 0.5))
    said = divergence(made({"lr": at, "wd": at[::-1]}, curves, died=above))
    least = f"{at[above].min():.5g}"
    assert said == (
        f"All {len(above)} members that diverged have lr = {least} or more, and all {len(above)} "
        "there diverged: lower "
        f"the upper end of its range to about {at[above].min():.2g}."
    )
    low = divergence(made({"eps": at}, curves, died=np.flatnonzero(at < 0.2)))
    assert "or less, and all" in low
    assert "there diverged: raise the lower end" in low
    best_there = made({"lr": at}, rising(at), died=[i for i in above if at[i] != at.max()])
    assert "the best is there too" in divergence(best_there)
    assert divergence(made({"lr": at}, curves, died=range(0, 40, 5))) is None  # anywhere
    assert divergence(made({"lr": at}, curves, died=above[:2])) is None  # too few
    assert divergence(made({"lr": at}, curves)) is None


def test_advice_on_the_length_of_training(made):
    scores = 0.5 + 0.1 * line(10)
    hparams = {"a": line(10)}
    said = still_improving(made(hparams, rising(scores, late=0.01)))
    assert said.startswith(
        "All 5 best members still improved over the last 4 of 12 rounds (score by +0.03): train"
    )
    down = still_improving(made(hparams, -rising(scores, late=0.01), mode="min"))
    assert "(score by -0.03)" in down
    assert still_improving(made(hparams, rising(scores))) is None  # flat in the second half
    noise = 0.01 * RNG.normal(size=(12, 10))
    assert still_improving(made(hparams, rising(scores) + noise)) is None
    tiny = made(hparams, rising(scores, late=1e-6))
    assert still_improving(tiny) is None  # not worth it
    assert still_improving(made(hparams, rising(scores, 2, late=0.1))) is None  # two rounds
    one = made({"a": [0.5]}, rising([0.9], 30, late=0.01))
    assert still_improving(one).startswith("The best member still improved over the last 10 of 30")
    copied = np.tile(np.arange(10), (12, 1))
    copied[1] = 0
    assert still_improving(made(hparams, rising(scores, late=0.01), parents=copied)) is None


def test_advice_on_the_spread_of_seeds(made):
    def sweep(gap, noise, folds, hard=0.0):
        values = np.zeros((3, folds, 3)) - np.array([0, gap, 10])[:, None, None]
        values = values + noise * np.array([[-1, 0, 1], [1, 0, -1], [0, 1, -1]])[:, None]
        values = values + hard * np.arange(folds)[:, None]
        values = values + (noise * RNG.normal(size=(3, folds, 1)) if folds > 1 else 0)
        return made({"a": [0.1, 0.5, 0.9]}, [values.mean(axis=(1, 2))], splits=values)

    said = within_the_spread(sweep(0.01, 0.1, 1))
    assert said.startswith(
        "Members 0 and 1, the first two, differ by 0.01 in score, and seeds of one setting vary by "
        "0.1 (standard deviation over 3 seeds): their order may be chance. The first 2"
    )
    assert within_the_spread(sweep(0.2, 0.1, 1)) is None
    assert "their difference varies by" in within_the_spread(sweep(0.001, 0.1, 5))
    # Folds that are hard for both say nothing of the order.
    assert within_the_spread(sweep(0.1, 0.001, 5, hard=1.0)) is None
    assert within_the_spread(made({"a": [0.1, 0.2]}, rising([0.1, 0.2]))) is None  # one training


def test_advice_on_the_number_of_settings(made):
    four = {name: line(12) for name in "abcd"}
    said = too_few_settings(made(four, rising(line(12))))
    assert said.startswith("12 settings are few for 4 hyperparameters: ten for each are usual, 40;")
    assert too_few_settings(made({"a": line(12)}, rising(line(12)))) is None
    grid = {"a": vt.Ordinal([0, 1]), "b": vt.Ordinal([0, 1])}
    whole = made({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}, rising(line(4)), space=grid)
    assert too_few_settings(whole) is None  # all that there are
    assert too_few_settings(made({"a": [1.0]}, rising([1.0]), space={"a": 1.0})) is None
    twice = made({"a": [0.5, 0.5, 0.7]}, rising([0.1, 0.2, 0.3]))
    assert settings_tried(twice) == 2
    assert too_few_settings(twice).startswith("2 settings are few for 1 hyperparameter:")


def test_advice_on_what_does_not_matter(made):
    n = 200
    a, b = RNG.random(n), np.arange(n) % 5 / 5 + 0.1
    noise = 0.1 * RNG.normal(size=n)
    said = without_effect(made({"a": a, "b": b}, rising(a + noise)))
    assert said.startswith("b does not seem to matter here. It explains at most ")
    # It matters among the good alone.
    hidden = np.where(a > 0.5, 10 + b, a + noise)
    assert without_effect(made({"a": a, "b": b}, rising(hidden))) is None
    small = {"a": a[:40], "b": b[:40]}
    assert without_effect(made(small, rising((a + noise)[:40]))) is None  # too few
    assert without_effect(made({"a": a, "b": b}, rising(np.ones(n)))) is None  # all the same
    copied = np.tile(np.arange(n), (12, 1))
    copied[5, 0] = 1
    assert without_effect(made({"a": a, "b": b}, rising(a + noise), parents=copied)) is None


def test_the_bound_of_what_is_explained_holds_as_often_as_it_says():
    """Of ranks with a known share between parts: the bound lies above it in 95 of 100 samples."""
    part, share = np.arange(100) % 5, 0.1
    effect = np.linspace(-1, 1, 5)
    effect *= np.sqrt(share / (1 - share) / np.mean(effect**2))
    draws = [explained(part, effect[part] + RNG.normal(size=100)).most for _ in range(60)]
    assert np.mean(np.array(draws) >= share) >= 0.85
    assert np.median(draws) < 3 * share
    assert explained(np.arange(100), RNG.normal(size=100)) == (1.0, 0.0)
