#!/usr/bin/env bash
# Stands for Python in tests of launch/vm.sh: "trains" by adding a line to the
# state; ends as $FAKE/end says: a status, or `waits`.
set -eu

trap 'echo asked to stop; exit 143' TERM
echo "arguments: $*"
folder=runs/cloud/detector/checkpoints
mkdir -p "$folder/latest" "$folder/best"
echo step >>"$folder/latest/state"
wc -l <"$folder/latest/state" >"$folder/best/params"
wc -l <"$folder/latest/state" >runs/cloud/report.md
while [[ $(<"$FAKE/end") == waits ]]; do
  sleep 0.02
done
exit "$(<"$FAKE/end")"
