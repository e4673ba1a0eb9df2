#!/usr/bin/env bash
# The tests that are not slow, with the lowest or the newest versions that pyproject.toml allows, in
# .venv-lowest or .venv-newest, made anew each time; further arguments go to pytest. docs/versions.md
# has what was seen.
#   PYTHON=python3.11 bash scripts/versions.sh lowest
#   PYTHON=python3.13 bash scripts/versions.sh newest
#   PYTHON=python3.13 bash scripts/versions.sh newest tests/test_solo.py -m ""    slow ones, too
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    lowest) resolution=lowest-direct ;;
    newest) resolution=highest ;;
    *) echo "say which versions: versions.sh lowest, or versions.sh newest" >&2; exit 2 ;;
esac
venv=.venv-$1
shift
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --resolution "$resolution" \
    --editable ".[dev]"
"$venv/bin/python" --version
"$venv/bin/uv" pip list --quiet --python "$venv/bin/python" |
    grep -E '^(jax|flax|optax|numpy|orbax-checkpoint|rich|scikit-learn|pandas|matplotlib|tensorboard) '
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile -m "not slow" "$@"
