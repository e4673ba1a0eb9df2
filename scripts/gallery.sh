#!/usr/bin/env bash
# Runs the experiments of docs/gallery.md one after the other, draws the pictures again, writes the
# page, and prints how long each took: 20 minutes on two cores with nothing else to do.
#   bash scripts/gallery.sh                    all of them
#   bash scripts/gallery.sh digits sms_spam    those
#   bash scripts/gallery.sh --quick            a smoke check, in a few minutes
#   VTUNE_DATA=DIR bash scripts/gallery.sh     with the data in DIR/mnist10k and DIR/sms_spam
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
install_into_venv experiments
exec .venv/bin/python scripts/run_experiments.py "$@"
