#!/usr/bin/env bash
# A table of the paper, or a check of our own, as a page in results/:
#   launch/reproduce.sh TABLE [DATASET] [options]; see --help
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
exec "${VIRTUAL_ENV:-$PWD/.venv}/bin/python" -m splitner_jax.reproduce "$@"
