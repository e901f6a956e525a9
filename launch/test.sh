#!/usr/bin/env bash
# Every check of the project, on CPU and without a network:
#   launch/test.sh [--parity] [arguments of pytest]
# --parity installs torch first, so that the parity tests do not skip.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=(--dev)
if [[ ${1:-} == --parity ]]; then
  extras+=(--parity)
  shift
fi
launch/setup.sh "${extras[@]}"
bin=${VIRTUAL_ENV:-$PWD/.venv}/bin

export HF_HUB_OFFLINE=1
"$bin/ruff" check --quiet .
"$bin/ruff" format --check --quiet .
"$bin/mypy"
"$bin/python" -m pytest "$@"
