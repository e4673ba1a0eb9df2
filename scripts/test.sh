#!/usr/bin/env bash
# Lint, types and tests; further arguments go to pytest.
#   bash scripts/test.sh            everything
#   bash scripts/test.sh --quick    what to run after each edit: all but the tests marked as slow
#   bash scripts/test.sh --accelerators    what compiles for a TPU, in .venv-tpu; see
#                                          `python scripts/accelerators.py --install`
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
if [ "${1:-}" = --accelerators ]; then
    shift
    if [ ! -x .venv-tpu/bin/python ]; then
        echo "there is no .venv-tpu; run: python scripts/accelerators.py --install --chips v5e" >&2
        exit 1
    fi
    export JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 ALLOW_MULTIPLE_LIBTPU_LOAD=1 XLA_FLAGS=
    exec .venv-tpu/bin/python -m pytest tests/test_accelerators.py "$@"
fi
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
