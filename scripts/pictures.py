"""Draws the pictures of docs/gallery.md and README.md again, into docs/pictures/.

    python scripts/pictures.py             all of them; runs that are not there are left out
    python scripts/pictures.py speed       docs/benchmarks/ as a chart, for README.md
    python scripts/pictures.py plots       the plots of vt.plots
    python scripts/pictures.py experiments the experiments' own figures

Plots and figures are those of runs in --runs, each written by its experiment (docs/gallery.md has
the commands); `folds` runs a small sweep of its own.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docstrings import every
from matplotlib.figure import Figure
from PIL import Image

import vtune as vt

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
# The one result that has all workloads on one machine, undisturbed; see docs/benchmarks/README.md.
BENCH = ROOT / "docs" / "benchmarks" / "cpu-2026-11-22-whole" / "bench.json"
LARGEST = 60_000  # bytes

# The plot's name, the run that it is drawn of, and how.
PLOTS: tuple[tuple[str, str, Callable[[Any], Figure]], ...] = (
    ("curves", "sms_spam", lambda plot: plot.curves(top=5)),
    ("axis", "digits", lambda plot: plot.axis(["lr", "width"])),
    ("isolation", "digits", lambda plot: plot.isolation(["lr", "dropout"])),
    ("parallel", "sms_spam", lambda plot: plot.parallel()),
    ("heat", "digits", lambda plot: plot.heat("lr", "dropout")),
    ("best_of_k", "digits", lambda plot: plot.best_of_k()),
    ("pareto", "adversarial", lambda plot: plot.pareto("accuracy", "robust")),
    ("time", "digits", lambda plot: plot.time()),
    ("lineage", "pbt_mnist", lambda plot: plot.lineage()),
    ("schedule", "pbt_mnist", lambda plot: plot.schedule()),
    ("rungs", "halving_mnist", lambda plot: plot.rungs()),
)


def write(name: str, image: Image.Image) -> None:
    """Writes a picture in so many colours, and so wide, that it is small."""
    for width in (1200, 1100, 1000, 900, 800):
        smaller = image.convert("RGB")
        if width < image.width:
            height = round(image.height * width / image.width)
            smaller = smaller.resize((width, height), Image.Resampling.LANCZOS)
        for colours in (128, 64, 32):
            file = io.BytesIO()
            # Maximum coverage keeps the colours of the few: a star, a line.
            few = smaller.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(file, "PNG", optimize=True)
            if file.tell() <= LARGEST:
                PICTURES.mkdir(exist_ok=True)
                (PICTURES / f"{name}.png").write_bytes(file.getvalue())
                print(f"{name}.png: {file.tell() / 1000:.0f} kB, {few.width} x {few.height}")
                return
    raise ValueError(f"{name}.png: {file.tell()} bytes, more than {LARGEST}; draw less")


def drawn(figure: Figure, width: int) -> Image.Image:
    """A figure as an image so many pixels wide."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=width / figure.get_figwidth())
    return Image.open(file)


def plots(runs: Path) -> None:
    for name, run, draw in PLOTS:
        if (runs / run).is_dir():
            write(f"plot_{name}", drawn(draw(vt.read(runs / run).plot), 1200))
        else:
            print(f"plot_{name}.png: no run {runs / run}")
    write("plot_folds", drawn(folded().plot.folds(top=6), 1200))


def folded() -> vt.Sweep:
    """A sweep with five folds, which no experiment has."""
    import flax.linen as nn
    import optax
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    data = vt.standardize(vt.kfold({"x": x, "y": y}, k=5, stratify="y"), "x")
    learner = vt.flax_learner(
        nn.Dense(3),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda out, batch, h: optax.softmax_cross_entropy_with_integer_labels(out, batch["y"]),
        penalty=lambda params, h: vt.penalties.l2(params, h["l2"], only="kernel"),
    )
    space = {"lr": vt.Float(1e-3, 1e-1, log=True), "l2": vt.Float(1e-5, 1e-1, log=True)}
    return vt.tune(learner, space, data, search=vt.Halton(32), epochs=20, seeds=3)


def experiments(runs: Path) -> None:
    for name in every():
        figure = runs / name / "figure.png"
        if figure.is_file():
            write(name, Image.open(figure))
        else:
            print(f"{name}.png: no figure {figure}")


# Colours are Okabe and Ito's, as in vt.plots; a hatch each besides.
RUNNERS = {
    "vtune": ("vtune", "#d55e00", ""),
    "torch": ("PyTorch loop", "#0072b2", "//"),
    "torch_vmap": ("torch.func.vmap", "#56b4e9", "xx"),
    "loop": ("loop of jitted Flax steps", "#999999", ".."),
    "plain": ("plain jit(vmap(scan))", "#e5e5e5", "\\\\"),
}


def speed(runs: Path) -> None:
    del runs
    write("speed", drawn(bars(json.loads(BENCH.read_text())), 1200))


def bars(result: dict[str, Any]) -> Figure:
    """The time of one step of one member, of vtune and of its peers, in one run of bench.py."""
    rows = {name: row for name, row in result["workloads"].items() if name != "Transformer"}
    figure = Figure(figsize=(7, 6.2), layout="constrained")
    axes = figure.subplots()
    y, ticks, named = 0.0, [], set()
    for row in rows.values():
        first = y
        for runner, (label, colour, hatch) in RUNNERS.items():
            if runner not in row["runners"]:
                continue
            own = row["runners"][runner]
            axes.barh(
                y, own["us"], 0.86, color=colour, hatch=hatch, edgecolor="#333333", linewidth=0.6,
                label=None if runner in named else label,
            )  # fmt: skip
            times = "" if runner == "vtune" else f",  {own['ratio']['median']:.3g} × vtune's"
            axes.text(
                own["us"] * 1.1, y, shown(own["us"]) + times, va="center", fontsize=8.5,
                weight="bold" if runner == "vtune" else "normal",
            )  # fmt: skip
            named.add(runner)
            y += 1
        ticks.append((first + y - 1) / 2)
        y += 0.7
    sizes = [f"{name}\n{r['members']} members\nbatch {r['batch']}" for name, r in rows.items()]
    axes.set_yticks(ticks, sizes)
    axes.tick_params("y", length=0)
    axes.set_ylim(y - 0.6, -0.8)
    axes.set(xscale="log", xlim=(30, 4e7), xticks=[1e2, 1e3, 1e4, 1e5, 1e6])
    axes.set_xticklabels(["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s"])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.legend(loc="upper right", fontsize=9.5, framealpha=1, edgecolor="#dddddd")
    machine = result["machine"]
    torch = machine["versions"]["torch"].partition("+")[0]
    axes.set_title("Time of one training step of one member", fontsize=12, weight="bold")
    axes.set_xlabel(
        "logarithmic, shorter is better; torch.func.vmap was timed for the MLPs only\n"
        f"{machine['name']}, {result['date']}, jax {machine['versions']['jax']}, PyTorch {torch}"
    )
    return figure


def shown(us: float) -> str:
    """A time in two or three digits."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if us >= size:
            return f"{us / size:.3g} {unit}" if us / size < 100 else f"{us / size:.0f} {unit}"
    return f"{us:.2g} µs"


KINDS = {"speed": speed, "plots": plots, "experiments": experiments}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    options = parser.parse_args()
    for kind in options.kinds or KINDS:
        if kind not in KINDS:
            parser.error(f"{kind!r} is none of {', '.join(KINDS)}")
        KINDS[kind](options.runs)


if __name__ == "__main__":
    main()
