# Sourced by the other scripts: makes .venv if it is not there and installs vtune into it.
#
#   VTUNE_JAX=cuda13   the GPU build of JAX instead of the CPU one (any extra of jax)
#   VTUNE_VENV=.venv   the folder
#   PYTHON=python3.12  the Python to make it with; 3.11 or newer

install_into_venv() { # $1: the extra to install
    local python=${PYTHON:-python3} venv=${VTUNE_VENV:-.venv} wanted
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "vtune needs Python 3.11 or newer; '$python' is not. Set PYTHON=/path/to/python3.11" >&2
        return 1
    fi
    # What is installed is written down, so that a second run starts at once.
    wanted="$1 ${VTUNE_JAX:-cpu} $(cksum <pyproject.toml)"
    if [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || return 1
    echo "installing vtune[$1] into $venv ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        ${VTUNE_JAX:+"jax[$VTUNE_JAX]"} --editable ".[$1]" || return 1
    echo "$wanted" >"$venv/installed"
}
