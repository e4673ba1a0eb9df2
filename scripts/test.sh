#!/usr/bin/env bash
# Lint, types and tests; further arguments go to pytest.
#   bash scripts/test.sh            everything
#   bash scripts/test.sh --quick    what to run after each edit: all but the tests marked as slow
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
install_into_venv dev
tests=(-n 2 --dist loadfile)
if [ "${1:-}" = --quick ]; then
    shift
    tests+=(-m "not slow")
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest "${tests[@]}" "$@"
