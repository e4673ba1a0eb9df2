"""PBT out of a poor guess: where all first learning rates are too high, it finds lower ones while
it trains.

Command:   python experiments/pbt_mnist.py --data ../shared/data/mnist10k
Data:      MNIST's 10,000 test digits, 8,000 to train on and 2,000 to validate, stratified.
Trained:   a 784-128-128-10 MLP, Adam, 16 members, 10 epochs, batches of 64. The first learning
           rates are log-uniform in [0.03, 0.1], too high for Adam; the space is [1e-4, 1].
Time:      45 s on 2 CPU cores, six sweeps of about 7 s
Result:    3.2 points more accuracy than the same population unrefined: 0.9380 to 0.9058 in the end,
           means of seeds 100 to 102, the least of the three 2.2 points; 1.5 over the unrefined
           population's best round, 0.9233
Output:    runs/pbt_mnist: the sweep of the first seed, table.csv, schedule.csv of the winner,
           and figure.png, the winner's path through the population
Picture:   left, accuracy over ten rounds: the winner's weights end above plain search's best.
           Right, the learning rates: the winner's falls from 0.03 to 0.013
"""

from __future__ import annotations

import numpy as np
import optax
import pandas as pd
from mnist import MLP, arguments, read_folder
from options import parse
from report import refined_figure, write

import vtune as vt

SPACE = {"lr": vt.Float(1e-4, 1.0, log=True)}


def first_rates(members: int, seed: int) -> vt.Given:
    """Log-uniform in [0.03, 0.1]: a poor guess, of which plain search cannot get rid."""
    rates = np.exp(np.random.default_rng(seed).uniform(np.log(0.03), np.log(0.1), members))
    return vt.Given([{"lr": float(rate)} for rate in rates])


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "pbt_mnist")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=100)
    options = parse(parser, argv, members=4, epochs=2, seeds=1)

    data = vt.holdout(read_folder(options.data), fraction=0.2, seed=0, stratify="y")
    xent = optax.softmax_cross_entropy_with_integer_labels
    learner = vt.flax_learner(
        MLP(),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda logits, batch, h: xent(logits, batch["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )

    def train(refiner, seed: int) -> vt.Sweep:
        return vt.tune(
            learner,
            SPACE,
            data,
            search=first_rates(options.members, seed),
            refiner=refiner,
            epochs=options.epochs,
            batch_size=64,
            metric="accuracy",
            seed=seed,
            progress=True,
        )

    rows, first = [], None
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        plain, refined = train(vt.refine.Keep(), seed), train(vt.PBT(), seed)
        first = first or (plain, refined)
        rows.append(
            {
                "seed": seed,
                "plain": plain.best.score,
                "plain, best round": np.nanmax(plain.history["accuracy"]),
                "pbt": refined.best.score,
            }
        )
    table = pd.DataFrame(rows).set_index("seed")
    table["gain"] = table["pbt"] - table["plain"]
    table["gain over best round"] = table["pbt"] - table["plain, best round"]
    print(table.round(4).to_string())
    print("mean", table.mean().round(4).to_dict())

    plain, refined = first
    write(refined, options.out, refined_figure(refined, plain))
    winner = refined.best.index
    schedule = pd.DataFrame(dict(refined.schedule(winner)))
    schedule.insert(0, "member", refined.lineage(winner))
    schedule.to_csv(options.out / "schedule.csv", index_label="round")
    print(f"the winner, member {winner}, round by round:")
    print(schedule.to_string())


if __name__ == "__main__":
    vt.use_all_cores()
    main()
