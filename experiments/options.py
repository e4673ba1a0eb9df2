"""The option --quick, which all experiments have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, **quick: Any
) -> argparse.Namespace:
    """Adds --quick, and parses.

    Args:
      quick: the defaults of other options where --quick is given.
    """
    shown = ", ".join(f"--{name} {value}" for name, value in quick.items())
    parser.add_argument("--quick", action="store_true", help=f"a smoke check: {shown}")
    if parser.parse_known_args(argv)[0].quick:
        parser.set_defaults(**quick)
    return parser.parse_args(argv)
