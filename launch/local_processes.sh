#!/usr/bin/env bash
# Runs a command in several processes of one run on this machine:
#
#   launch/local_processes.sh 2 -- splitner train --config=configs/demo.py
#
# Each gets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. When
# one ends badly, the others get a while to end too. The status is that of the
# first one to end badly, 0 if none did; SIGTERM and ctrl-C go to all.
set -uo pipefail

usage='usage: launch/local_processes.sh NUMBER -- COMMAND...'
if (($# < 3)) || [[ ! $1 =~ ^[1-9][0-9]*$ || $2 != -- ]]; then
  [[ ${1-} != --help ]] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0; }
  echo "error: $usage" >&2
  exit 2
fi
number=$1
shift 2
grace=${GRACE_SECONDS:-40} # For the others to notice, save and end.

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}
port=${PORT:-$(free_port)} || exit
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$number

# Job control: a group of its own for each, so that ctrl-C comes through here
# and no process gets it twice.
set -m
declare -A process_of=()
for ((i = 0; i < number; i++)); do
  JAX_PROCESS_ID=$i "$@" </dev/null &
  process_of[$!]=$i
done
set +m
# shellcheck disable=SC2329 # The traps call it.
pass_on() { kill -s "$1" -- "${!process_of[@]}" 2>/dev/null; }
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

status=0 watchdog=
while ((${#process_of[@]})); do
  ended=
  wait -n -p ended "${!process_of[@]}"
  code=$?
  # A signal to this script ends the wait. A process that ended in that moment
  # is not waited for any more, but its status is known.
  if [[ -z ${ended:-} ]]; then
    for pid in "${!process_of[@]}"; do
      if ! kill -0 "$pid" 2>/dev/null; then
        ended=$pid
        wait "$pid" 2>/dev/null
        code=$?
        break
      fi
    done
    [[ -n ${ended:-} ]] || continue
  fi
  who=${process_of[$ended]}
  unset "process_of[$ended]"
  ((code)) || continue
  ((status)) || {
    status=$code
    echo "process $who of $number ended with status $code;" \
      "the others end too" >&2
    # Who hangs in what the other was needed for does not hear SIGTERM.
    (sleep "$grace"; kill -KILL "${!process_of[@]}") >/dev/null 2>&1 &
    watchdog=$!
  }
done
[[ -z $watchdog ]] || kill "$watchdog" 2>/dev/null
exit "$status"
