"""What a network is to a learner, and the state of a member that is one."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from vtune.hparams import Hparams
from vtune.learner.statistics import Path
from vtune.types import Batch, Key, Outputs, PyTree


class Net(Protocol):
    """What linen and nnx differ in: how a network is initialised and applied.

    `params` are the weights that an optimizer trains, `other` all other variables of a member.
    A net is a frozen dataclass, whose field `settled` has the paths of what is not to change.
    """

    def init(self, key: Key, h: Hparams, batch: Batch) -> tuple[PyTree, PyTree]:
        """Returns (params, other)."""
        ...

    def apply(
        self, key: Key, h: Hparams, params: PyTree, other: PyTree, batch: Batch, train: bool
    ) -> tuple[Outputs, PyTree]:
        """Returns (outputs, other)."""
        ...

    def variables(self, params: PyTree, other: PyTree) -> PyTree:
        """Returns the variables in the framework's own form."""
        ...

    def statistics(self, h: Hparams, params: PyTree, other: PyTree) -> list[Path]:
        """Returns the paths in `other` of running means and variances of batches."""
        ...

    def split(self, variables: PyTree, params: PyTree, other: PyTree) -> tuple[PyTree, PyTree]:
        """Splits given variables, whole or in part, into those of `params` and of `other`."""
        ...

    def in_variables(self, path: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns where `variables` has what a path names as `frozen.py` does."""
        ...

    def selected(self, spec: Any, h: Hparams, batch: Batch) -> frozenset[tuple[Any, ...]] | None:
        """Returns the paths in `variables` that a filter of the framework selects; None where
        `spec` is none."""
        ...


class NetState(NamedTuple):
    """One member's weights, other variables (such as BatchNorm statistics), optimizer state.

    Attributes:
      judged: the other variables of the weights that are scored; None where they are `other`.
      frozen: what members share (`frozen.Variables`), while it is needed; it is not carried.
    """

    params: PyTree
    other: PyTree
    opt_state: PyTree
    judged: PyTree = None
    frozen: Any = None

    @property
    def scored(self) -> PyTree:
        """The other variables beside the weights that are scored."""
        return self.other if self.judged is None else self.judged
