"""FlaxClassifier and FlaxRegressor: Flax modules as estimators, with skorch's parameter names."""

from __future__ import annotations

from typing import Any, cast

import flax.linen as nn
import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from vtune.caches import bounded_cache
from vtune.hparams import Hparams, Static
from vtune.identity import snapshot
from vtune.learner.net import NetState
from vtune.sklearn.estimators.base import (
    Classifier,
    Estimator,
    Regressor,
    checked_number,
    checked_rows,
)
from vtune.sklearn.training.network_spec import MLP, TRACED, NetworkSpec, accepted, optimizer_named
from vtune.sklearn.training.spec import Setting
from vtune.types import PyTree
from vtune.validation import check_flag, is_whole

PREFIXES = ("module__", "optimizer__")
PREDICT_ROWS = 1024  # rows of one prediction


class _Network(Estimator):
    """A Flax module and how it is trained.

    Args:
      module: a module, or a class or function that makes one of the parameters `module__<name>`
        (and of `n_outputs`, if it takes that). None: an MLP with module__width (100),
        module__depth (1), module__activation ("relu"), module__dropout (0).
      lr: the learning rate. optimizer: the name of an Optax optimizer, or a function
        (learning rate, **parameters) -> an optimizer; its parameters are `optimizer__<name>`.
      max_epochs: training epochs. batch_size: rows per step, at most all of them.
      random_state: seeds weights, row order and dropout. warm_start: the next fit starts at the
        last one's weights. verbose: whether a bar shows the progress.

    lr, the MLP's dropout and float parameters of the optimizer are traced: a search over them is
    one cohort.

    Attributes:
      variables_: the trained variables, as `module.apply` takes them, NumPy arrays.
      loss_curve_: [epochs] the mean training loss of every epoch. module_: the trained module.
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
        """Keeps unknown names, too: by scikit-learn's convention, only `fit` complains."""
        unknown = [name for name in params if not name.startswith(PREFIXES)]
        if unknown:
            self._unknown = unknown
        for name, value in params.items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the parameters by name, with those of the module and of the optimizer."""
        names = [*self._get_param_names(), *getattr(self, "_unknown", ())]
        nested = {k: v for k, v in vars(self).items() if k.startswith(PREFIXES)}
        return {name: getattr(self, name) for name in names} | nested

    def set_params(self, **params: Any) -> Any:
        """Sets parameters by name, those of the module and of the optimizer, too."""
        nested = {k: v for k, v in params.items() if k.startswith(PREFIXES)}
        BaseEstimator.set_params(self, **{k: v for k, v in params.items() if k not in nested})
        self._set_nested(nested)
        return self

    def _params_of(self, prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in vars(self).items() if k.startswith(prefix)}

    # training -------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits the model.

        Args:
          X: [rows, features]; for a given module, of any shape and any numeric type. y: [rows].
          sample_weight: [rows], 0 or more: how much a row counts in its batch.

        Raises:
          ValueError, TypeError: the data or a parameter is wrong.
        """
        start = self.variables_ if self.warm_start and hasattr(self, "variables_") else None
        self.loss_curve_ = self._fit(X, y, sample_weight, start, bool(self.verbose)).losses
        return self

    def _setting(self, outputs: int) -> Setting:
        self._check_parameters()
        module = MLP if self.module is None else self.module
        module_params, optimizer_params = map(self._params_of, PREFIXES)
        module_traced = [n for n in module_params if n in TRACED and module is MLP]
        optimizer_traced = [n for n, v in optimizer_params.items() if _is_float(v)]
        numbers = {"lr": checked_number("lr", self.lr)}
        for name in module_traced:
            numbers[f"module__{name}"] = checked_number(f"module__{name}", module_params[name])
        for name in optimizer_traced:
            numbers[f"optimizer__{name}"] = float(optimizer_params[name])
        without = lambda params, names: {k: v for k, v in params.items() if k not in names}
        spec = NetworkSpec(
            module=Static(snapshot("module", module)),
            module_params=Static(snapshot("module__", without(module_params, module_traced))),
            optimizer=optimizer_named(self.optimizer),
            optimizer_params=Static(
                snapshot("optimizer__", without(optimizer_params, optimizer_traced))
            ),
            module_numbers=tuple(module_traced),
            optimizer_numbers=tuple(optimizer_traced),
            classifier=isinstance(self, Classifier),
            outputs=outputs,
        )
        seed = self._seed()
        return Setting(spec, numbers, int(self.max_epochs), int(self.batch_size), seed)

    def _check_parameters(self) -> None:
        for name in getattr(self, "_unknown", ()):
            raise TypeError(
                f"{type(self).__name__} has no parameter {name!r}; those of the module are "
                f"module__{name}, those of the optimizer optimizer__{name}"
            )
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
        check_flag("warm_start", self.warm_start)
        module = MLP if self.module is None else self.module
        if not callable(module):
            raise TypeError(
                f"module={module!r} must be a flax.linen.Module, its class or a function that "
                "returns one, or None"
            )
        known = accepted(module)
        wrong = [] if "kwargs" in known else sorted({*self._params_of("module__")} - known)
        if wrong:
            raise ValueError(
                f"module__{wrong[0]} is no parameter of {_name(module)}; it takes "
                f"{sorted(known - {'n_outputs'})}"
            )

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _keep_state(self, setting: Setting, state: NetState) -> None:
        self.variables_ = jax.tree.map(np.asarray, {"params": state.params, **state.other})
        self._setting_ = setting

    @property
    def _fitted_spec(self) -> NetworkSpec:
        return cast(NetworkSpec, self._setting_.spec)

    def _validation_options(self) -> dict[str, Any]:
        given = self.module is not None
        return {"dtype": "numeric" if given else np.float32, "allow_nd": given}

    def _check_training_rows(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        x, target, weight = super()._check_training_rows(X, y, sample_weight)
        return _float32(x), target, weight

    def _check_new_rows(self, X: Any) -> np.ndarray:
        return _float32(super()._check_new_rows(X))

    def _raw_outputs(self, X: Any) -> np.ndarray:
        x = checked_rows(self, X)
        predict = _predictor(self._fitted_spec)
        others = {name: tree for name, tree in self.variables_.items() if name != "params"}
        state = NetState(self.variables_["params"], others, None)
        outputs = []
        for begin in range(0, len(x), PREDICT_ROWS):
            part = x[begin : begin + PREDICT_ROWS]
            # Few sizes, so few compilations; at least 32, so that one row is rounded like many.
            size = max(32, 1 << (len(part) - 1).bit_length())
            padded = part[np.minimum(np.arange(size), len(part) - 1)]
            outputs.append(np.asarray(predict(self._setting_.numbers, state, padded))[: len(part)])
        return np.concatenate(outputs)

    @property
    def module_(self) -> nn.Module:
        """The trained module, with its parameters filled in."""
        return self._fitted_spec.make_module(self._setting_.numbers)


class FlaxClassifier(_Network, Classifier):
    __doc__ = f"""A classifier: a Flax module trained by cross-entropy.

    The module returns one logit per class, also for two classes; `n_outputs` is their number.
    class_weight: "balanced", a dict by class, or None. {_Network.__doc__}"""

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
    __doc__ = f"""A regressor: a Flax module trained by the squared error.

    Targets are not scaled. {_Network.__doc__}"""

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        return super()._encode_targets(y).astype(np.float32)


@bounded_cache(64)
def _predictor(spec: NetworkSpec) -> Any:
    """Returns the compiled predict function of a spec."""

    def run(numbers: dict[str, Any], state: NetState, x: Any) -> Any:
        predict = spec.learner.predict
        assert predict is not None
        return predict(Hparams(numbers, {}), state, {"x": x})

    return jax.jit(run)


def _float32(x: np.ndarray) -> np.ndarray:
    """Returns float64 features as float32; other types, such as ids, stay."""
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _name(module: Any) -> str:
    return getattr(module, "__name__", type(module).__name__)
