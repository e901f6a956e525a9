#!/usr/bin/env bash
# Sets up for NVIDIA GPUs and trains on all that this machine has:
#   launch/gpu.sh --config=configs/ontonotes.py [options of `splitner train`]
# CUDA_VISIBLE_DEVICES=0 takes the first alone. The same command goes on where
# it was stopped, which status 143 says.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
nvidia-smi -L >/dev/null 2>&1 ||
  fail "nvidia-smi finds no GPU here; mend the driver, or train on the CPU" \
    "with splitner train"
launch/setup.sh --cuda
python=${VIRTUAL_ENV:-$PWD/.venv}/bin/python
# JAX would take the CPU, and say so in a warning only.
"$python" -c 'import sys, jax; sys.exit(jax.default_backend() != "gpu")' ||
  fail "JAX does not find the GPU that nvidia-smi finds: the driver may be too" \
    "old for CUDA 12"
# Trying the tilings of Triton's matrix products takes longer than it saves: on
# an H100 with 4 cores the detector's first step came after 22 s instead of more
# than 70. What XLA_FLAGS says already wins.
export XLA_FLAGS="--xla_gpu_enable_triton_gemm=false ${XLA_FLAGS:-}"
exec "$python" -m splitner_jax.main "$@"
