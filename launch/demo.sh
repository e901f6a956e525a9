#!/usr/bin/env bash
# The whole of SplitNER in minutes: sets up, trains on the demo corpus that
# ships with the package, prints the scores and tags a few sentences.
#   launch/demo.sh [arguments of `splitner train`, --workdir apart]
set -euo pipefail

for argument in "$@"; do
  if [[ $argument == --workdir* || $argument == -workdir* ]]; then
    echo "error: $argument: the demo runs in runs/demo; leave it out" >&2
    exit 1
  fi
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
python=${VIRTUAL_ENV:-$PWD/.venv}/bin/python
export HF_HUB_OFFLINE=1

"$python" -m splitner_jax.main --config=configs/demo.py --workdir=runs/demo "$@"

echo
echo "The model at work:"
"$python" -m splitner_jax.predict --model=runs/demo/model --format=text <<'TEXT'
Grace Hopper wrote about COBOL long before she left the U.S. Navy in Washington.
the new numpy release broke my pipeline again, thanks @dev_ines
A trojan called GlassLantern stole the keys of Brightwater Energy in Rotterdam.
Samples were washed with 2-propanol and dried over magnesium sulfate.
TEXT
cat <<'NEXT'

model:   runs/demo/model     (splitner predict --model=runs/demo/model)
report:  runs/demo/report.md (and report.json; predictions/ beside it)
next:    your own files, after `source .venv/bin/activate`:
  splitner check --train=train.tsv --dev=dev.tsv
  splitner train --train=train.tsv --dev=dev.tsv
NEXT
