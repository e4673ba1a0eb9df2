"""Says what to write where an nnx module cannot be made or called as it was given."""

from __future__ import annotations

import inspect
from typing import Any

import flax.linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict

from vtune.types import PyTree
from vtune.validation import check_call

APPLY = "apply=lambda model, batch, *, train, rngs: ..."
FOREIGN = (
    "a layer draws from random streams made outside the model: most likely a default argument "
    "rngs=nnx.Rngs(0), which Python makes once, at import. Hand the rngs that model(h, rngs) is "
    "given on to every layer: Layer(..., rngs=rngs)"
)


def check_model(model: Any) -> None:
    """Raises TypeError unless `model` is a function of (h, rngs)."""
    module = model if isinstance(model, type) else type(model)
    if issubclass(module, nn.Module):
        raise TypeError(f"{module.__name__} is a linen module; use vt.flax_learner")
    if isinstance(model, nnx.Module) or not callable(model):
        what = "an nnx module" if isinstance(model, nnx.Module) else module.__name__
        raise TypeError(
            f"model must be a function of (h, rngs) that returns a flax.nnx module, got {what}; "
            f"write {_lambda(module)}"
        )
    if isinstance(model, type):
        taken = _parameters(model)
        if not _fits(taken):
            raise TypeError(
                f"model must be a function of (h, rngs), got the class {module.__name__}, which "
                f"takes ({', '.join(p.name for p in taken)}); write {_lambda(module)}"
            )
    check_call("model", model, "h, rngs")


def _fits(parameters: list[inspect.Parameter]) -> bool:
    """Whether a class's constructor may be called with (h, rngs)."""
    try:
        bound = inspect.Signature(parameters).bind("h", "rngs").arguments
    except TypeError:
        return False
    return bound.get("rngs", "rngs") == "rngs"


def _parameters(kind: Any) -> list[inspect.Parameter]:
    """Returns the parameters of a class's constructor, without `self`."""
    return list(inspect.signature(kind.__init__).parameters.values())[1:]


def _lambda(module: type) -> str:
    """Returns the function to write for a class, with its arguments that have no default."""
    if not issubclass(module, nnx.Module):
        return "lambda h, rngs: Model(width=h['width'], rngs=rngs)"
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [
        f"{p.name}=..."
        for p in _parameters(module)
        if p.default is inspect.Parameter.empty and p.kind in kinds and p.name != "rngs"
    ]
    return f"lambda h, rngs: {module.__name__}({', '.join([*needed, 'rngs=rngs'])})"


def check_created(before: PyTree, after: PyTree) -> None:
    """Raises TypeError if a call created variables, as sown losses are."""
    created = flatten_dict(after).keys() - flatten_dict(before).keys()
    if created:
        names = ", ".join(sorted("/".join(map(str, path)) for path in created))
        raise TypeError(
            f"the module's call creates variables ({names}), which a step cannot carry; return "
            "the values with the outputs, where loss= sees them, or read and remove them in "
            'apply=lambda model, batch, *, train, rngs: (model(batch["x"]), nnx.pop(model, Kind))'
        )
