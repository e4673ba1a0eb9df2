"""MNIST or any other data in IDX format, and the MLP that experiments train on it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp

import vtune as vt


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The options that all have: where the data are, where results go."""
    parser = argparse.ArgumentParser(description=description)
    default = Path(os.environ.get("VTUNE_DATA", "../shared/data")) / "mnist10k"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--out", type=Path, default=Path("runs") / out)
    return parser


def read_folder(folder: Path) -> dict:
    """The images and labels of a folder of IDX files."""
    found = []
    for kind in ("images", "labels"):
        files = sorted(folder.glob(f"*{kind}*")) if folder.is_dir() else []
        if not files:
            sys.exit(f"no IDX file named *{kind}* in {folder}: give --data DIR or set VTUNE_DATA")
        # Where training and test files lie side by side, take the training ones.
        found.append(next((f for f in files if f.name.startswith("train")), files[0]))
    images, labels = map(vt.read_idx, found)
    return {"x": images, "y": labels.astype("int32")}


class MLP(nn.Module):
    """784-width-...-10, on images as they are stored."""

    widths: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1).astype(jnp.float32) / 255  # uint8 on the device
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)
