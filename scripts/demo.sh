#!/usr/bin/env bash
# 256 settings of an MLP on scikit-learn's digits, as one program; results in runs/digits.
#   VTUNE_JAX=cuda13 bash scripts/demo.sh    on an NVIDIA GPU
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
install_into_venv all
exec .venv/bin/python experiments/digits.py "$@"
