#!/usr/bin/env bash
# A table of the paper, or a check of our own, as a page in results/:
#   launch/reproduce.sh TABLE [DATASET] [options]; see --help
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
# Memory stays with the process: on CPU a step takes a sixth less.
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-34359738368}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-34359738368}
exec "${VIRTUAL_ENV:-$PWD/.venv}/bin/python" -m splitner_jax.reproduce "$@"
