#!/usr/bin/env bash
# Every check of the project, on CPU and without a network:
#   launch/test.sh [--parity] [--all | --long] [arguments of pytest]
# --parity installs torch first, so that the parity tests do not skip; --all
# also runs the slow tests; --long runs only those that take hours.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=(--dev)
which=()
while true; do
  case ${1:-} in
    --parity) extras+=(--parity) ;;
    --all) which=(-m "not long") ;;
    --long) which=(-m long) ;;
    *) break ;;
  esac
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
