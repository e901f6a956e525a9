#!/usr/bin/env bash
# Every check of the project, on CPU and without a network:
#   launch/test.sh [--parity] [--all] [arguments of pytest]
# --parity installs torch first, so that the parity tests do not skip; --all
# also runs the slow tests.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=(--dev)
which=()
while [[ ${1:-} == --parity || ${1:-} == --all ]]; do
  if [[ $1 == --parity ]]; then
    extras+=(--parity)
  else
    which=(-m "slow or not slow")
  fi
  shift
done
launch/setup.sh "${extras[@]}"
bin=${VIRTUAL_ENV:-$PWD/.venv}/bin

export HF_HUB_OFFLINE=1
"$bin/ruff" check --quiet .
"$bin/ruff" format --check --quiet .
"$bin/mypy"
# Files go to the processes whole: tests of a file share what they trained.
"$bin/python" -m pytest -n auto --maxprocesses=4 --dist=loadfile \
  --no-loadscope-reorder \
  ${which[@]+"${which[@]}"} "$@"
