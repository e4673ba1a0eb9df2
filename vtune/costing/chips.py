"""The chips that programs can be compiled for without having one. One entry more adds a chip."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from vtune.validation import is_whole

_H200 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
runtime_version { major: 13 minor: 0 patch: 0 }
dnn_version_info { major: 9 minor: 8 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  device_memory_size: 150000000000 memory_bandwidth: 4800000000000 l2_cache_size: 62914560
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_core: 233472 shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
"""


@dataclass(frozen=True)
class Chip:
    """What a chip is, and how programs are compiled for it.

    Attributes:
      memory: bytes that JAX hands out on one by default.
      bandwidth: bytes a second from and to its main memory.
      flops: floating-point operations a second of matrix products, by the type of the numbers;
        "float32" with the precision that JAX takes by default, "float32 highest" with all of it.
      source: where these figures are from.
      most: the most chips that a program can be compiled for.
      topology: how many -> devices, at least as many.
      module: what the compiler is found by. install: and how it is installed.
      environment: the variables that must be set before JAX starts.
      options: of the compiler.
    """

    name: str
    memory: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str
    most: int
    topology: Callable[[int], Sequence[jax.Device]]
    module: str
    install: str
    environment: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


def _described(**description: Any) -> Sequence[jax.Device]:
    from jax.experimental import topologies  # takes time to import

    return topologies.get_topology_desc(**description).devices


def _h200(count: int) -> Sequence[jax.Device]:
    return _described(
        platform="cuda", topology_name="", target_config=_H200, topology=f"1x1x{count}"
    )


def _v5e(count: int) -> Sequence[jax.Device]:
    rows = max(2, -(-count // 4))
    return _described(platform="tpu", topology_name="v5e:2x2" if count <= 4 else f"v5e:{rows}x4")


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "h200",
            memory=3 * 150_000_000_000 // 4,  # JAX takes three quarters of a GPU's memory
            bandwidth=4.8e12,
            flops={"bfloat16": 989e12, "float16": 989e12, "float32": 495e12, "float64": 67e12}
            | {"float32 highest": 67e12},
            source="NVIDIA H200 Tensor Core GPU datasheet, SXM, dense rates; float32 as TF32",
            most=8,
            topology=_h200,
            module="jax_plugins.xla_cuda13",
            install='pip install "jax[cuda13]"',
            environment={"JAX_PLATFORMS": "cpu"},
            # Autotuning would time kernels on a device.
            options={"xla_gpu_autotune_level": 0},
        ),
        Chip(
            "v5e",
            memory=16 * 2**30 - 2**28,  # the compiler itself refuses more
            bandwidth=819e9,
            flops={"bfloat16": 197e12, "float32": 197e12, "float32 highest": 197e12 / 6},
            source="Google Cloud TPU v5e documentation; float32 as bfloat16, or in six passes",
            most=16,
            topology=_v5e,
            module="libtpu",
            install='pip install "jax[tpu]"',
            environment={"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
        ),
    )
}


def chip_named(name: Any) -> Chip:
    """Returns the chip.

    Raises:
      ValueError: there is none of this name.
    """
    if isinstance(name, str) and name in CHIPS:
        return CHIPS[name]
    known = ", ".join(f'"{known}"' for known in CHIPS)
    raise ValueError(f"chip={name!r} is not known; write {known}, or None for this machine")


def devices_of(chip: Chip, count: Any) -> Sequence[jax.Device]:
    """Returns so many devices of a chip that need not be there.

    Raises:
      ValueError: `count` is none that a program can be compiled for.
      ImportError: the chip's compiler is not installed; the message says how to.
      RuntimeError: JAX was started in another way than compiling for the chip needs.
    """
    if not is_whole(count) or not 1 <= count <= chip.most:
        raise ValueError(
            f"devices={count!r} must be a whole number, 1 to {chip.most} for {chip.name!r}"
        )
    if not _is_installed(chip.module):
        raise ImportError(
            f"vt.cost(chip={chip.name!r}) needs the chip's compiler, which is not installed here: "
            f"{chip.install}, best in an environment of its own (the chip itself is not needed)"
        )
    missing = {name: value for name, value in chip.environment.items() if not _is_set(name, value)}
    if missing:
        wanted = " ".join(f"{name}={value}" for name, value in missing.items())
        raise RuntimeError(
            f"vt.cost(chip={chip.name!r}): set {wanted} in the environment before Python starts, "
            "so that JAX does not look for a device of this kind"
        )
    return chip.topology(count)[:count]


def _is_set(name: str, value: str) -> bool:
    if name == "JAX_PLATFORMS":  # may be set through JAX's configuration as well
        return getattr(jax.config, "jax_platforms") == value  # noqa: B009
    return os.environ.get(name) == value


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
