#!/usr/bin/env bash
# Builds the documentation site, build/site/index.html: runs the notebooks, checks the links inside the
# site. Made in .venv-docs. It opens from the disk, without its search, which wants a server.
#   bash scripts/docs.sh           all of it
#   bash scripts/docs.sh --serve   shows it on http://127.0.0.1:8000, and builds again what is edited
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
VTUNE_VENV=.venv-docs install_into_venv docs
bin=.venv-docs/bin

rm -f docs/notebooks/*.ipynb
"$bin/jupytext" --quiet --to notebook docs/notebooks/*.py
"$bin/python" -m pytest -q --nbmake --overwrite docs/notebooks # their outputs are in the site

if [ "${1:-}" = --serve ]; then
    exec "$bin/mkdocs" serve --strict
fi
NO_MKDOCS_2_WARNING=1 exec "$bin/mkdocs" build --strict --quiet
