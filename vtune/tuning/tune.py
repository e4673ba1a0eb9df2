"""`vt.tune`: trains a population of settings as one program, from a learner, a space and data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vtune.data.dataset import Data
from vtune.engine.layout import Layout
from vtune.hparams import Hparams
from vtune.keywords import answering
from vtune.learner.protocol import Learner
from vtune.refine.base import Refiner
from vtune.results.member import Member
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep
from vtune.runtime import processes
from vtune.runtime.time_limit import TimeLimit
from vtune.search.base import Search
from vtune.search.generations import Generations
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.callbacks import checked_callbacks
from vtune.tuning.checkpoints.settings import Checkpoint, as_checkpoint
from vtune.tuning.generations import run_generations
from vtune.tuning.hints import warn_no_score
from vtune.tuning.launch import Watching, run_prepared
from vtune.tuning.prepare import prepare

if TYPE_CHECKING:
    import pandas


@answering
def tune(
    learner: Learner,
    space: Any,
    data: Data | None = None,
    *,
    search: Search | Sequence[Mapping[str, Any]] | pandas.DataFrame | None = None,
    refiner: Refiner | None = None,
    epochs: int | Callable[[Hparams], int] | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    batch_size: int | Callable[[Hparams], int] | None = None,
    eval_batch_size: int | None = None,
    metric: str | Callable[..., Any] | Sequence[str] = "loss",
    mode: str | Sequence[str] | None = None,
    seed: int = 0,
    patience: int | None = None,
    keep: str | None = None,
    init_from: Any = None,
    frozen: Any = None,
    cache_features: bool = False,
    seeds: int | None = None,
    layout: str | int | Layout | None = None,
    timeout: float | None = None,
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Any] | None = None,
) -> Sweep:
    """Trains a whole population of settings as one jitted program.

        draw the settings; deal them to cohorts of equal structure
        for each round:  refine the population; train every member; score every member

    Args:
      learner: how one member is initialised, stepped and scored; see `vt.flax_learner`.
      space: name -> `vt.Float`, `vt.Int`, `vt.Ordinal` (traced), `vt.Categorical` (structural)
        or a fixed value. A list of such dicts is their union.
      data: from `vt.holdout`, `vt.from_splits`, or `vt.kfold` for cross-validation. A member is
        then trained once for each fold, and its score is the mean. None for learners that make
        their own data.
      search: how the settings are drawn; `vt.Halton()` with 64 members when left out.
        `vt.Generations(sampler)` draws them in turns, by what those before came to. A list of
        dicts, or a data frame with a row each, are the settings themselves, see `vt.Given`.
      refiner: what is decided between rounds; plain search (`vt.refine.Keep()`) when left out.
        Others are `vt.PBT`, `vt.MFPBT`, `vt.PB2`, `vt.NSGA2`, `vt.Halving`, `vt.Hyperband`, or
        your own. Each cohort is refined separately.
      epochs, steps: how long every member trains; one of the two. Steps are optimizer updates.
        `epochs` may be a function of the hyperparameters, traced ones too (`lambda h:
        h["epochs"]`). A member is then frozen when its epochs are over, and `h["total_steps"]`
        is the number of steps that this member takes.
      rounds: how often members are scored; once an epoch when left out.
      batch_size: training rows per step, or a function of the structural hyperparameters; 32 when
        left out, or the rows of a batch of `vt.stream`.
      eval_batch_size: rows scored at once, which bounds memory; at most 1,024 when left out. A
        learner's `batch_loss` depends on it; its rows are those of a training batch when left out.
      metric: what members are compared by: the name of a recorded metric, or a function of all of
        them. The function is part of the program's identity, so a new one compiles anew. Several
        names are the objectives of a search by generations; members are ranked by the first that
        is no cost.
      mode: "max" or "min", or one for each of several metrics; may be left out for metrics that
        say it themselves.
      seed: decides settings, weights, order of rows, and noise; 0 to 2**32 - 1.
      patience: a member whose score has not improved for so many rounds is frozen; the sweep ends
        where all are. Refiners may drop it, but neither replace nor copy it.
      keep: "last" for the last weights, "best" for those of the best score, with the settings that
        they were trained with; "best" when left out with `patience`, else "last". A copy takes its
        parent's best along, and members that a refiner drops keep theirs. It takes the memory of a
        second population.
      init_from: weights that all members start from, instead of drawn ones: a tree of variables or
        parameters, whole or part, or a member of a sweep.
      frozen: which of the variables in `init_from` all members share and none trains; there is one
        copy of them, and no gradient or optimizer state. A regular expression, searched in paths
        such as "encoder/Dense_0/kernel"; ("all but", [expressions]); a function of the path, a
        tuple of names; a tree of booleans; for nnx also a filter such as `nnx.Not(nnx.LoRAParam)`.
        Optimizers and penalties see only what is trained. Other variables that the model changes
        in training, such as BatchNorm's statistics, stay each member's own.
      cache_features: whether what depends on a row and on frozen weights alone is computed once for
        the whole run, for all rows, by a program of its own; else once for each batch of an epoch.
        It takes memory, and needs rows that do not look at each other there.
        An extension and a rerun compute it batch by batch.
      seeds: how often each setting is trained. Weights and noise differ, rows are the same, and
        the score is the mean. With several folds or seeds, `history["<metric>/splits"]` has the
        values of every training.
      layout: how members are laid over the machine, see `vt.Layout`; "vmap", "map" or a chunk
        size for short.
      timeout: seconds from this call on, compiling included, after which the sweep ends as Ctrl-C
        would end it: with the rounds that were run, its members "timeout after round N". No round
        is cut, and one is always run; one that would end too late is not begun.
      checkpoint: a folder, or a `vt.Checkpoint`. The run keeps there what it has, once a minute and
        where Ctrl-C or SIGTERM ends it; the same call, made again, goes on from there, to the same
        bits on as many devices. In the end it holds the sweep, as `Sweep.save` writes it, and the
        same call returns it. Another call is refused. `vt.load` reads it at any time.
      progress: a live bar where the error stream is a terminal; elsewhere a line when compiling
        takes long, one every 30 s, and one at the end. When left out, nothing is written outside a
        terminal in the first 10 s; False is silent.
      callbacks: what looks on between rounds: functions of a report, or objects such as
        `vt.log.CSV(path)`; see `docs/guides/callbacks.md`. One that returns `vt.STOP` ends the
        sweep.

    Under `jax.distributed` all processes make the same call, and train one sweep together; see
    `docs/guides/scaling.md`.

    Returns:
      A `Sweep`; `vt.extend` trains it further.

    Raises:
      TypeError, ValueError: an argument cannot work. Raised before anything is compiled.
      RuntimeError: of several processes one failed, or did not make this call in time.
      CheckpointMismatchError: a ValueError; another call left what `checkpoint` holds.
      CheckpointSaveError: an OSError; nothing could be saved, and the sweep is `error.sweep`.

    Warns:
      UserWarning: a hyperparameter is never read, the search draws fewer members than there are
        structural combinations, the refiner never acts, no member has a finite score (then with
        the cause), or `timeout` ended the sweep.

    Examples:
      >>> import jax.numpy as jnp, optax, vtune as vt
      >>> quadratic = vt.Learner(
      ...     init=lambda key, h, batch: jnp.ones(()),
      ...     step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
      ...     measure=lambda key, h, x, batch, weight: x**2 / 2,
      ...     score=lambda total: {"loss": total},
      ... )
      >>> space = {"lr": vt.Ordinal([0.1, 0.5])}
      >>> vt.tune(quadratic, space, search=vt.Grid(), steps=10).best.hparams
      {'lr': 0.5}
    """
    if isinstance(init_from, Member) and processes.several():
        _ = init_from.state  # all bring it here, before one of them can fail
    with processes.together("vt.tune"), processes.warning_once():
        limit = None if timeout is None else TimeLimit(timeout, "tune")
        kept = as_checkpoint("tune", checkpoint)
        told = checked_callbacks(callbacks)
        arguments = TuneArguments(
            learner=learner,
            space=space,
            data=data,
            search=search,
            refiner=refiner,
            epochs=epochs,
            steps=steps,
            rounds=rounds,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            metric=metric,
            mode=mode,
            seed=seed,
            patience=patience,
            keep=keep,
            init_from=init_from,
            frozen=frozen,
            cache_features=cache_features,
            seeds=seeds,
            layout=layout,
        )
        prepared = prepare(arguments)
        watching = Watching(progress=progress, limit=limit, callbacks=told, checkpoint=kept)
    if isinstance(search, Generations):
        sweep = run_generations(prepared, arguments, search, watching)
    else:
        sweep = run_prepared(prepared, watching)
    with processes.warning_once():
        warn_no_score(no_finite_score(sweep.trained))
    return sweep
