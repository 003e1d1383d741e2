#!/usr/bin/env bash
# Runs a module of this repository, installing first what it needs.
#
#   launch/local.sh MODULE [FLAGS]     python -m MODULE FLAGS
#   launch/local.sh experiments.train  trains the default experiment
#   launch/local.sh pytest [ARGS]      runs the tests
#   launch/local.sh -h                 shows this
#
# Needs Python 3.11 or newer. The first call makes .venv in the repository and
# installs the package there with its tests; later ones install again only
# when pyproject.toml or EXTRAS changed, or an installation was interrupted.
# The module runs from the root of the repository, wherever it is called from,
# so relative paths in FLAGS start there.
#
#   EXTRAS=cuda13   further extras of pyproject.toml, separated by commas, as
#                   in EXTRAS=tpu or EXTRAS=cuda12,parity; remembered until
#                   EXTRAS is given again, EXTRAS= forgets them
#   PYTHON=python3  the interpreter that makes .venv
set -euo pipefail

fail() {
  echo "launch/local.sh: $*" >&2
  exit 1
}

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
}

recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac

caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
stamp=.venv/installed

if ! "$python" -m pip --version >/dev/null 2>&1; then
  base=${PYTHON:-python3}
  # A path in PYTHON is meant from where the caller stands.
  case "$base" in /*) ;; */*) base=$caller/$base ;; esac
  command -v "$base" >/dev/null ||
    fail "$base not found; install Python 3.11 or newer, or set PYTHON"
  recent "$base" ||
    fail "$base is $("$base" --version 2>&1), too old; install Python 3.11" \
      "or newer, or set PYTHON=/path/to/python3.11"
  echo "making .venv with $("$base" --version 2>&1)" >&2
  "$base" -m venv --clear .venv ||
    fail "cannot make .venv; on Debian and Ubuntu install python3-venv"
fi
recent "$python" ||
  fail ".venv is $("$python" --version 2>&1), too old; delete .venv"

# The stamp is the extras on one line, then pyproject.toml as installed.
extras=${EXTRAS-$(head -n 1 "$stamp" 2>/dev/null || true)}
wanted=$(printf '%s\n' "$extras"; cat pyproject.toml)
if [ "$wanted" != "$(cat "$stamp" 2>/dev/null || true)" ]; then
  rm -f "$stamp"
  echo "installing jaxrl_llm with extras test${extras:+,$extras}" >&2
  # What pip says goes to stderr: stdout belongs to the module.
  "$python" -m pip install --editable ".[test${extras:+,$extras}]" >&2 ||
    fail "the installation failed; run the same command to try again"
  printf '%s\n' "$wanted" >"$stamp"
fi

exec "$python" -m "$@"
