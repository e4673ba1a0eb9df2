"""Pickling a sweep, which works where its learner can be pickled; else the error says what does."""

from __future__ import annotations

import pickle
import sys

from vtune.results.trained import Trained
from vtune.runtime.hosted import is_here
from vtune.runtime.surroundings import check_one_process


def pickled(trained: Trained) -> bytes:
    """Returns the record as bytes, by cloudpickle where that is imported.

    Raises:
      PicklingError: the learner is made of functions that pickle cannot store.
      RuntimeError: its members lie over several processes.
    """
    if not all(is_here(population.state) for population in trained.populations):
        check_one_process("pickle a sweep", "write sweep.save(folder) in all of them")
    cloud = sys.modules.get("cloudpickle")
    dumps = pickle.dumps if cloud is None else cloud.dumps
    try:
        return bytes(dumps(trained))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise pickle.PicklingError(
            f"a sweep holds its learner, whose functions pickle cannot store ({error}); write "
            "sweep.save(folder) and vt.load(folder, learner), or import cloudpickle"
        ) from None


def unpickled_record(record: bytes) -> Trained:
    """Returns the record of a pickled sweep."""
    trained = pickle.loads(record)
    assert isinstance(trained, Trained)
    return trained
