"""A thread that computes one thing after the other, and does not keep a process from ending."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import jax


class Worker:
    """Runs functions in the order in which they are submitted, under JAX's settings of the thread
    that made it: those that `with jax.enable_x64(True)` makes are of one thread alone.

    Unlike the threads of a `ThreadPoolExecutor` it is not waited for at exit, when it may hang.
    """

    def __init__(self, name: str):
        self._todo: SimpleQueue[tuple[Future[Any], Callable[..., Any], Any] | None] = SimpleQueue()
        read = lambda name: getattr(jax.config, name)
        self._x64, self._device = read("jax_enable_x64"), read("jax_default_device")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Returns what will hold the function's result."""
        future: Future[Any] = Future()
        self._todo.put((future, function, arguments))
        return future

    def close(self, wait: bool) -> None:
        """Ends the thread after what it does now.

        Args:
          wait: until then.
        """
        self._todo.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as settings:
            settings.enter_context(jax.enable_x64(self._x64))
            settings.enter_context(jax.default_device(self._device))
            while (todo := self._todo.get()) is not None:
                future, function, arguments = todo
                del todo
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(function(*arguments))
                    except BaseException as error:
                        future.set_exception(error)
                del future, function, arguments  # so that no result lives on here
