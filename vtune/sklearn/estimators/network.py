"""FlaxClassifier and FlaxRegressor: a Flax module as an estimator; parameter names are skorch's."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from sklearn.base import BaseEstimator

from vtune.hparams import Hparams, Static
from vtune.learner.assemble import NetState
from vtune.sklearn.estimators.base import Classifier, Estimator, Regressor, fitted
from vtune.sklearn.estimators.linear import number
from vtune.sklearn.training.network_spec import MLP, TRACED, NetworkSpec, accepted, optimizer_named
from vtune.sklearn.training.spec import Setting
from vtune.types import PyTree
from vtune.validation import is_whole

PREFIXES = ("module__", "optimizer__")
PREDICT_ROWS = 1024  # at once


class _Network(Estimator):
    """A Flax module and how it is trained.

    Args:
      module: a class or function that makes a module of the parameters `module__<name>` (and of
        `n_outputs` where it takes that), or a module; None: an MLP with module__width (100),
        module__depth (1), module__activation ("relu"), module__dropout (0).
      lr: the learning rate. optimizer: a name of Optax's, or a function (learning rate, **) -> an
        optimizer, with the parameters `optimizer__<name>`.
      max_epochs, batch_size: how long, and rows a step (no more than there are).
      random_state: of weights, rows and dropout. warm_start: the next fit begins at the last
        one's weights. verbose: whether a bar shows the progress.

    lr, the MLP's dropout and fractional parameters of the optimizer are traced: a search over them
    is one cohort.

    Attributes:
      variables_: the trained variables, as `module.apply` takes them, NumPy arrays.
      loss_curve_: [epochs] the mean training loss of each. module_: the module that was trained.
      n_features_in_, feature_names_in_: as in scikit-learn.
    """

    variables_: PyTree

    def __init__(
        self,
        module: Any = None,
        *,
        lr: Any = 1e-3,
        optimizer: Any = "adam",
        max_epochs: int = 100,
        batch_size: int = 32,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: Any = False,
        **kwargs: Any,
    ):
        self.module = module
        self.lr = lr
        self.optimizer = optimizer
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self._set_nested(kwargs)

    # module__* and optimizer__* are parameters like the others ------------------------------------

    def _set_nested(self, params: dict[str, Any]) -> None:
        """Names that cannot be are kept as well; fit names them, as is scikit-learn's custom."""
        unknown = [name for name in params if not name.startswith(PREFIXES)]
        if unknown:
            self._unknown = unknown
        for name, value in params.items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Its parameters by name, those of the module and the optimizer too."""
        names = [*self._get_param_names(), *getattr(self, "_unknown", ())]
        own = {name: getattr(self, name) for name in names}
        return own | {k: v for k, v in vars(self).items() if k.startswith(PREFIXES)}

    def set_params(self, **params: Any) -> Any:
        """Sets parameters by name."""
        nested = {k: v for k, v in params.items() if k.startswith(PREFIXES)}
        BaseEstimator.set_params(self, **{k: v for k, v in params.items() if k not in nested})
        self._set_nested(nested)
        return self

    def _params_of(self, prefix: str) -> dict[str, Any]:
        found = {k: v for k, v in vars(self).items() if k.startswith(prefix)}
        return {k.removeprefix(prefix): v for k, v in found.items()}

    # training -------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits the model.

        Args:
          X: [rows, features]; of any shape, or ids, for a module of one's own. y: [rows].
          sample_weight: [rows], 0 or more; how much each row counts in its batch.

        Raises:
          ValueError, TypeError: on what cannot be fitted, or parameters that cannot be.
        """
        start = self.variables_ if self.warm_start and hasattr(self, "variables_") else None
        self.loss_curve_ = self._fit(X, y, sample_weight, start, bool(self.verbose)).losses
        return self

    def _setting(self, outputs: int) -> Setting:
        for name in getattr(self, "_unknown", ()):
            raise TypeError(
                f"{type(self).__name__} has no parameter {name!r}; those of the module are "
                f"module__{name}, those of the optimizer optimizer__{name}"
            )
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
        module = MLP if self.module is None else self.module
        if not callable(module):
            raise TypeError(
                f"module={module!r} is no module; give a flax.linen.Module, its class, or None"
            )
        module_params, optimizer_params = map(self._params_of, PREFIXES)
        wrong = [] if "kwargs" in accepted(module) else sorted({*module_params} - accepted(module))
        if wrong:
            raise ValueError(
                f"module__{wrong[0]} is no parameter of {_name(module)}; it takes "
                f"{sorted(accepted(module) - {'n_outputs'})}"
            )
        module_numbers = [n for n in module_params if n in TRACED and module is MLP]
        optimizer_numbers = [k for k, v in optimizer_params.items() if _is_float(v)]
        numbers = {"lr": number("lr", self.lr)}
        numbers |= {
            f"module__{n}": number(f"module__{n}", module_params[n]) for n in module_numbers
        }
        numbers |= {f"optimizer__{n}": float(optimizer_params[n]) for n in optimizer_numbers}
        without = lambda params, names: {k: v for k, v in params.items() if k not in names}
        spec = NetworkSpec(
            Static(module),
            Static(without(module_params, module_numbers)),
            optimizer_named(self.optimizer),
            Static(without(optimizer_params, optimizer_numbers)),
            tuple(module_numbers),
            tuple(optimizer_numbers),
            isinstance(self, Classifier),
            outputs,
        )
        seed = self._seed(self.random_state)
        return Setting(spec, numbers, int(self.max_epochs), int(self.batch_size), seed)

    def _take(self, setting: Setting, state: NetState) -> None:
        self.variables_ = jax.tree.map(np.asarray, {"params": state.params, **state.other})
        self._setting_ = setting

    def _features(self) -> dict[str, Any]:
        own = self.module is not None
        return {"dtype": "numeric" if own else np.float32, "allow_nd": own}

    def _checked(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        x, target, weight = super()._checked(X, y, sample_weight)
        return _small(x), target, weight

    def _rows(self, X: Any) -> np.ndarray:
        return _small(super()._rows(X))

    def _raw(self, X: Any) -> np.ndarray:
        x = fitted(self, X)
        setting = self._setting_
        state = NetState(self.variables_["params"], _others(self.variables_), None)
        parts = []
        for begin in range(0, len(x), PREDICT_ROWS):
            part = x[begin : begin + PREDICT_ROWS]
            # Few shapes, so few compilations; one row is rounded as it is among others.
            size = max(32, 1 << (len(part) - 1).bit_length())
            rows = part[np.minimum(np.arange(size), len(part) - 1)]
            made = _predictor(setting.spec)(setting.numbers, state, rows)
            parts.append(np.asarray(made)[: len(part)])
        return np.concatenate(parts)

    @property
    def module_(self) -> nn.Module:
        """The module that was trained, its parameters filled in."""
        return self._setting_.spec.made(self._setting_.numbers)


class FlaxClassifier(_Network, Classifier):
    __doc__ = f"""A classifier by a Flax module, trained by cross-entropy.

    It has n_outputs classes' logits, two for two classes; class_weight: "balanced", a dict by
    class, or None. {_Network.__doc__}"""

    def __init__(
        self,
        module: Any = None,
        *,
        lr: Any = 1e-3,
        optimizer: Any = "adam",
        max_epochs: int = 100,
        batch_size: int = 32,
        class_weight: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: Any = False,
        **kwargs: Any,
    ):
        super().__init__(
            module,
            lr=lr,
            optimizer=optimizer,
            max_epochs=max_epochs,
            batch_size=batch_size,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
            **kwargs,
        )
        self.class_weight = class_weight


class FlaxRegressor(_Network, Regressor):
    __doc__ = f"""A regressor by a Flax module, trained by the squared error.

    Targets are not scaled. {_Network.__doc__}"""

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        return super()._encoded(y).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _predictor(spec: NetworkSpec) -> Any:
    def run(numbers: dict[str, Any], state: NetState, x: Any) -> Any:
        predict = spec.learner.predict
        assert predict is not None
        return predict(Hparams(numbers, {}), state, {"x": x})

    return jax.jit(run)


def _others(variables: PyTree) -> PyTree:
    return {name: tree for name, tree in variables.items() if name != "params"}


def _small(x: np.ndarray) -> np.ndarray:
    """In types that a device holds."""
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _name(module: Any) -> str:
    return getattr(module, "__name__", type(module).__name__)
