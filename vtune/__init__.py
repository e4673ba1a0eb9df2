"""vtune: whole hyperparameter sweeps of Flax models as one jitted program.

The words that all folders use: a *member* is one training of one setting. It stands in a *slot* of
the *population*, the leading array axis. Members that share all structural choices are a *cohort*.
A *round* refines, trains and scores. A *rung* is a run of rounds with one population size. A member
that is trained once for each fold and seed has *replicates*. Imports go one way:

    saved_files, aligned, visible, identity <- types, hparams, validation, caches, keywords
        <- space, metrics, components, rng <- search, refine, xla <- data, learner
        <- engine <- runtime <- results <- tuning, log, lora, plots <- costing, report
        <- public, command <- vtune <- sklearn, __main__
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vtune.public import *  # noqa: F403
    from vtune.public import __all__ as __all__
else:

    def __getattr__(name: str) -> Any:
        """Imports all that is public where a name is first read.

        `python -m vtune` runs this file too, and lists sweeps without JAX, whose import takes
        seconds.
        """
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = None if name == "__all__" else find_spec(f"{__name__}.{name}")
        if found is not None and found.has_location:  # not what is left of a folder
            return import_module(found.name)  # perhaps for what `public` imports
        public = import_module(f"{__name__}.public")
        globals().update({n: getattr(public, n) for n in public.__all__}, __all__=public.__all__)
        if name in globals():
            return globals()[name]
        from vtune.results.looked_for import no_such_public_name

        raise AttributeError(no_such_public_name(name, public.__all__))


def __dir__() -> list[str]:
    """The public names alone, without the folders that hold them."""
    return [*import_module(f"{__name__}.public").__all__, "__version__", "__doc__"]
