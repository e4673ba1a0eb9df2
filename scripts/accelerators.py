"""What vtune's programs do on an NVIDIA H200 and a TPU v5e, on a machine that has neither.

    python scripts/accelerators.py --install        makes .venv-gpu (5 GB) and .venv-tpu (2 GB)
    python scripts/accelerators.py                  every case on both chips, an hour and a half
    python scripts/accelerators.py --only "MLP-32" --chips v5e

Compiles the benchmark's workloads with `vt.cost`, and beside them the plain `jit(vmap(scan))`, each
chip in a process of its own, and reads kernels and bytes off the programs. The figures are the same
on every machine. Cases that are compiled replace those in `chips.json`; the table and the chart
show all that are there. The cases are in `benchmarks/on_chips.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "scripts" / "benchmarks"
OUT = ROOT / "docs" / "benchmarks" / "chips"
VENVS = {"h200": (".venv-gpu", "cuda13"), "v5e": (".venv-tpu", "tpu")}


def install(chips: list[str]) -> None:
    """Makes an environment for each chip, with its compiler and vtune."""
    for chip in chips:
        folder, extra = VENVS[chip]
        python = ROOT / folder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(ROOT / folder)], check=True)
        own = [f"jax[{extra}]", "--editable", f"{ROOT}[dev]"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *own], check=True)


def python_for(chip: str) -> str:
    """The Python that has the chip's compiler; VTUNE_PYTHON_H200 and VTUNE_PYTHON_V5E override
    it."""
    own = os.environ.get(f"VTUNE_PYTHON_{chip.upper()}")
    python = Path(own) if own else ROOT / VENVS[chip][0] / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{python} is not there; run `python scripts/accelerators.py --install`")
    return str(python)


def environment() -> dict[str, str]:
    """What is set before JAX starts. Several processes may use libtpu, since none has a TPU."""
    tpu = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    parts = [ROOT, PARTS, ROOT / "experiments"]
    paths = [*map(str, parts), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    return os.environ | tpu | own


def compiled_for(chip: str, names: list[str], out: Path) -> None:
    """Runs `on_chips.py`, and writes the results anew whenever a case is done."""
    command = [python_for(chip), str(PARTS / "on_chips.py"), chip, *names]
    # What the TPU's library says of the TPU that is not there goes into a file.
    log = out / f"{chip}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as running,
    ):
        assert running.stdout is not None
        for line in running.stdout:
            row = json.loads(line)
            add(row, out)
            print(f"{row['case']} on {chip}", flush=True)
    if running.returncode:
        raise SystemExit(f"{chip}: {log.read_text()[-2000:]}")
    log.unlink()


def add(row: dict[str, Any], out: Path) -> None:
    """Adds a case's figures to those that are there, and writes them all."""
    import chip_tables

    file = out / "chips.json"
    result = json.loads(file.read_text()) if file.exists() else {"cases": {}}
    result["date"] = str(datetime.date.today())
    own = {side: found for side, found in row.items() if side not in ("case", "chip")}
    result["cases"].setdefault(row["case"], {})[row["chip"]] = own
    chip_tables.write(result, out)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", action="store_true", help="make the environments, and stop")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of cases")
    parser.add_argument("--chips", nargs="*", default=list(VENVS), choices=list(VENVS))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    if options.install:
        install(options.chips)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for chip in options.chips:
        compiled_for(chip, options.only, options.out)
    print((options.out / "chips.md").read_text())


if __name__ == "__main__":
    sys.path.insert(0, str(PARTS))
    main()
