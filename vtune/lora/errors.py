"""The error of adapters that do not fit their model."""

from __future__ import annotations

from vtune.returned import ReturnedError


class AdapterError(ReturnedError, ValueError):
    """An adapter does not fit the model. The message says everything, see `ReturnedError`."""
