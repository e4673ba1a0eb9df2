"""Is the search any good? vtune's searches beside Optuna's TPE, at equal member-steps.

    python scripts/quality.py                      all: 20 tasks, 7 methods, 10 seeds; resumes
    python scripts/quality.py --quick              a smoke check
    python scripts/quality.py --report             only the tables and the figure
    python scripts/quality.py --known TPE NSGA-II  known answers, 20 seeds (GP needs torch)
    python scripts/quality.py --wall "digits, MLP" wall time by generations and one by one
    python scripts/quality.py --table              trains the public table of 4,096 settings anew

A task is a data set of scikit-learn's, a network and a space (`quality/tasks.py`). Every method may
spend the member-steps of 256 whole trainings. It is judged by the loss on the validation rows of
the best setting that it found, which is what searches minimise; beside it is that setting's loss on
test rows, which neither trained nor chose. One by one is Optuna's TPE as it comes, over a jitted
loop of the same learner that trains member `i` in trial `i`, from the weights, rows and noise that
the sweeps' member `i` has.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("quality", "benchmarks")]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little work, as a smoke check")
    parser.add_argument("--report", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--known", nargs="*", metavar="SAMPLER", help="all when none is named")
    parser.add_argument("--wall", metavar="TASK")
    parser.add_argument("--table", action="store_true", help="train the table of settings anew")
    parser.add_argument("--tasks", nargs="*", help='names such as "digits, MLP"')
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--seeds", type=int, help="10, of known answers 20")
    parser.add_argument("--jobs", type=int, default=2, help="processes, a core each")
    parser.add_argument("--turns", type=int, default=3, help="of --wall")
    parser.add_argument("--store", type=Path, default=Path("build/quality.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    return parser.parse_args(argv)


def compared(options: argparse.Namespace) -> None:
    """Runs what is missing, and writes quality.md, quality.json and quality.png."""
    import figure
    import grid
    import machine
    import methods
    import outcome
    import store
    import tables
    import tasks
    import work

    names, chosen, full, seeds = tasks.NAMES, tuple(methods.METHODS), tasks.FULL, 10
    if options.quick:  # the others' programs are like Hyperband's
        chosen = tuple(method for method in chosen if method not in ("halving", "PBT"))
        names, full, seeds = (f"{grid.NAME}0", f"{grid.NAME}1"), 16, 2
    names, chosen = options.tasks or names, options.methods or chosen
    seeds = options.seeds or seeds
    if options.quick:
        for name in names:
            wanted = work.missing(options.store, name, chosen, seeds)
            work.one_task(options.store, name, wanted, full)
    elif not options.report:
        work.all_tasks(options.store, names, chosen, seeds, options.jobs)
    found = outcome.collected(store.read(options.store), names, chosen, seeds)
    if not found["tasks"]:
        raise SystemExit("no task has results of a method with all seeds")
    found |= {"full": full, "date": str(datetime.date.today()), "machine": machine.name()}
    written = outcome.as_json(found)
    found = outcome.of_json(written)  # so that the page is that of its figures
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.json").write_text(written + "\n")
    (options.out / "quality.md").write_text(tables.page(found))
    figure.draw(found, options.out / "quality.png")
    print(tables.page(found))


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.known is not None:
        import known

        print("\n".join(known.rows(options.known or list(known.SAMPLERS), options.seeds or 20)))
    elif options.wall:
        import wall

        import vtune as vt

        vt.use_all_cores()
        print("\n".join(wall.rows(options.wall, options.turns)))
    elif options.table:
        import grid

        grid.write(grid.trained())
    else:
        compared(options)


if __name__ == "__main__":
    main()
