"""Strict everywhere: warnings are errors, ranks do not promote, shapes are checked, two devices."""

import contextlib
import gc
import os

from compiler import EXACT, OFTEN, QUICK

# Traces are millions of small objects; to look through them as often as is the default takes a
# sixth of the suite's time.
gc.set_threshold(100_000, 50, 100)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", QUICK)  # results are tested here, not speed

os.environ.setdefault("VTUNE_CACHE_DIR", "off")  # the user's cache is not the tests'

import jax

jax.config.update("jax_num_cpu_devices", 2)
if os.environ.get("VTUNE_TEST_CACHE") != "off":
    # Through the configuration and not the environment: subprocesses under test have their own.
    # What JAX asks for is counted below, whether it is compiled or read from here.
    _cache = os.environ.get("VTUNE_TEST_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vtune-tests"
    )
    jax.config.update("jax_compilation_cache_dir", _cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_traceback_in_locations_limit", 0)  # nobody reads where an operation is from

from jaxtyping import install_import_hook

# Where arrays are handled. The modules that users call check their arguments themselves, with
# messages that have tests.
install_import_hook(
    [
        "vtune.engine.initialize",
        "vtune.rng.keys",
        "vtune.metrics",
        "vtune.components.nn",
        "vtune.engine.divergence",
        "vtune.engine.parallel",
        "vtune.engine.recording",
        "vtune.engine.population",
        "vtune.refine",
        "vtune.engine.run",
        "vtune.engine.stages",
        "vtune.engine.train_steps",
    ],
    "typecheck.checked",
)

import pytest
from hypothesis import settings

import vtune as vt
from vtune.runtime.compile import build

settings.register_profile("vtune", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("vtune")

_COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: _COMPILED.append(event) if "backend_compile" in event else None
)


class Compilations:
    """Counts what JAX itself reports as compiled inside a `with` block."""

    def __enter__(self):
        self._start = len(_COMPILED)
        return self

    def __exit__(self, *_):
        self.count = len(_COMPILED) - self._start


@pytest.fixture(scope="session")
def compilations():
    return Compilations


@pytest.fixture
def refused(compilations):
    """`with refused(error, says):` around a call that fails before anything is compiled."""

    @contextlib.contextmanager
    def refused(error, says):
        with compilations() as seen, pytest.raises(error, match=says):
            yield
        assert seen.count == 0

    return refused


@contextlib.contextmanager
def compiled_with(options):
    """Whole programs are compiled with more options; the plain loops are not."""
    compile = jax.stages.Lowered.compile

    def compile_so(lowered, compiler_options=None):
        return compile(lowered, {**options, **(compiler_options or {})})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jax.stages.Lowered, "compile", compile_so)
        yield


@pytest.fixture
def exact():
    """Whole programs are compiled with the options of `EXACT`; the plain loops always are."""
    build.cache_clear()  # of programs compiled quickly
    with compiled_with(EXACT):
        yield
    build.cache_clear()


@pytest.fixture
def used_often():
    """`with used_often():` around what compiles a program that runs longer than it compiles."""
    return lambda: compiled_with(OFTEN)


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def one_device():
    return vt.Layout(chunk=1, devices=1)
