"""`vt.load` and `vt.read`: a saved sweep with its learner, or its results alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vtune.keywords import answering
from vtune.learner.protocol import Learner
from vtune.results.choices import missing_in, saved_space
from vtune.results.files import Saved, read_saved
from vtune.results.left_out import filled
from vtune.results.manifest import refusing
from vtune.results.paths import folder_of
from vtune.results.provenance import check_learner, check_setting
from vtune.results.rebuild import rebuilt, with_states
from vtune.results.refiners import decode_refiner
from vtune.results.sweep import Sweep
from vtune.validation import check_flag


@answering
def load(
    path: str | os.PathLike,
    learner: Learner,
    *,
    choices: Mapping[str, Any] | None = None,
    refiner: Any = None,
    trusted: Sequence[str] = (),
    check: bool = True,
    init_from: Any = None,
) -> Sweep:
    """Reads a sweep that `Sweep.save` wrote.

    A file can be anybody's, so nothing that it names is imported or called. Functions among the
    values of the space are looked up in the public modules of JAX, Flax, Optax and vtune; others
    come from you, by `choices` or `trusted`. Without them the sweep has its table, its history and
    its settings, and what needs the weights says what to give.

    Args:
      path: the folder.
      learner: made like the one that was trained.
      choices: by hyperparameter, the values that the file does not hold, such as lambdas: for a
        `vt.Categorical` the list of all its choices in their order, else the value. They are
        compared with the file's descriptions.
      refiner: the one that the sweep was trained with, where it is a class of your own: `vt.extend`
        then goes on with what it remembers. The file holds vtune's own.
      trusted: names of modules that may be imported, with those below them: `["my_project"]`.
      check: whether the learner and the choices are compared with what the file knows of those
        that were trained: the equations of the learner's functions (with the versions that the
        sweep was saved with), the names of choices, their code and all that they hold. False for
        what is the same in another form.
      init_from: the frozen weights of a sweep that was saved without them, see `Sweep.save`.

    Returns:
      The sweep, without its data: `rerun` then needs `data=`.

    Raises:
      FileNotFoundError: no such folder. ValueError: not a saved sweep, damaged, of a newer
        version, of another learner, or trained with other choices. TypeError: an argument is of
        the wrong kind.
    """
    folder = folder_of("load", path)
    if not isinstance(learner, Learner):
        raise TypeError(
            f"load: learner must be the vt.Learner that was trained, made anew, got "
            f"{type(learner).__name__}; without one, vt.read(path) gives table and history"
        )
    check_flag("load: check", check)
    several = isinstance(trusted, Iterable) and not isinstance(trusted, str)
    if not several or not all(isinstance(name, str) for name in trusted):
        raise TypeError(
            f'load: trusted={trusted!r} must be names of modules, such as ["my_project"]'
        )
    saved = read_saved(folder, weights=True)
    arrays = filled(folder, saved.manifest, saved.arrays, init_from)
    saved = saved._replace(arrays=arrays)
    space = saved_space(folder, saved.manifest["space"], choices, trusted, check)
    absent = missing_in(space)
    trained = rebuilt(saved, space, learner, None if absent is None else absent.reason)
    if absent is not None:
        return Sweep(trained)
    if check:
        check_setting(str(folder), trained.provenance)
    with refusing(folder) if refiner is None else contextlib.nullcontext():
        own = decode_refiner(saved.manifest["refiner"], refiner, trusted, check)
    trained = with_states(trained, saved, own)
    if check:
        of = trained.provenance, trained.plan, trained.rows, trained.weights
        check_learner(str(folder), *of)
    return Sweep(trained)


def read(path: str | os.PathLike) -> Sweep:
    """Reads the results of a saved sweep alone: no learner, no weights, nothing imported.

    `table()`, `history`, `settings`, `best.hparams`, `lineage` and `schedule` are as in the sweep
    that was saved. What needs the weights raises a ValueError that says so. Values that the file
    does not hold, such as functions of your own, are shown by their description.

    Args:
      path: the folder.

    Raises:
      FileNotFoundError: no such folder. ValueError: not a saved sweep, damaged or of a newer
        version.
    """
    saved = read_saved(folder_of("read", path), weights=False)
    space = saved_space(saved.folder, saved.manifest["space"], None, ())
    trained = rebuilt(saved, space, _no_learner(saved), _RESULTS_ALONE, alone=True)
    with refusing(saved.folder):
        refiner = decode_refiner(saved.manifest["refiner"], None, (), check=False)
    return Sweep(dataclasses.replace(trained, refiner=refiner))


_RESULTS_ALONE = (
    "vt.read reads the results of a sweep alone; vt.load(path, learner) brings the weights as well"
)


def _no_learner(saved: Saved) -> Learner:
    """A learner in the place of one, whose functions say that there is none."""

    def none(*arguments: Any, **keywords: Any) -> Any:
        raise ValueError(_RESULTS_ALONE)

    modes = tuple((str(name), str(mode)) for name, mode in saved.manifest["modes"])
    return Learner(none, none, none, none, predict=none, variables=none, modes=modes)
