#!/usr/bin/env bash
# Builds the sdist, and the wheel from it, into dist/; looks into both, and trains the demo with the
# wheel, in a venv of its own and away from the sources.
#   PYTHON=python3.12 bash scripts/package.sh
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD python=${PYTHON:-python3}
unset PYTHONPATH # the sources are not to be found
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check build twine
rm -rf dist
"$work/tools/bin/python" -m build --outdir dist . >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$work/tools/bin/python" -m twine check --strict dist/*
wheel=$(echo "$root"/dist/*.whl)

echo "the wheel holds the tracked files of vtune/ and its metadata, nothing else:"
"$python" -m zipfile -l "$wheel" | awk 'NR > 1 { print $1 }' | sort >"$work/wheel"
{ git ls-files vtune; grep -E '^vtune-[^/]*\.dist-info/' "$work/wheel"; } | sort |
    diff - "$work/wheel"
grep -qx vtune/py.typed "$work/wheel"
echo "the sdist holds the tracked files, but for git's and CI's own:"
tar -tzf dist/*.tar.gz | sed -n 's:^[^/]*/::; /[^/]$/p' | sort >"$work/sdist"
git ls-files | grep -vE '^\.(ci|git)' | sort | comm -23 - "$work/sdist" | diff /dev/null -
ls -l dist | awk 'NR > 1 { print "  " $5, $9 }'

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel[all]"
"$work/venv/bin/python" -m pip check
cd "$work"
venv/bin/python -c 'import vtune; assert "/venv/" in vtune.__file__, vtune.__file__'
venv/bin/python "$root/experiments/digits.py" --members 32 --epochs 5 --out runs/digits
venv/bin/python -m vtune ls runs
