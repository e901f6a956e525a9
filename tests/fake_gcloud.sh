#!/usr/bin/env bash
# Stands for gcloud in tests. Each call's arguments become a line of
# $FAKE/calls, and the names in an archive that is sent those of $FAKE/copied;
# its answer is the next line of $FAKE/KIND, STATUS|TEXT, of which the last is
# given for ever. What fails says its text on stderr; the status `hangs` has no
# end.
set -eu

printf '%s\x1f' "$@" >>"$FAKE/calls"
printf '\n' >>"$FAKE/calls"
case "$*" in
  *'value(state.failedData.error.message)') kind=reason ;;
  'compute tpus queued-resources '*) kind=$4 ;;
  'compute tpus tpu-vm describe '*) kind=machine ;;
  'compute tpus tpu-vm scp '*) kind=copy ;;
  *'vm.sh setup'*) kind=setup ;;
  *'vm.sh start'*) kind=start ;;
  *'vm.sh poll'*) kind=poll ;;
  *'vm.sh log') kind=log ;;
  *) kind=unknown ;;
esac
[[ $kind != copy ]] || tar -tzf "$5" >"$FAKE/copied"
if [[ ! -e $FAKE/$kind ]]; then
  echo "no answer for: $*" >&2
  exit 99
fi
mapfile -t lines <"$FAKE/$kind"
if ((${#lines[@]} > 1)); then
  printf '%s\n' "${lines[@]:1}" >"$FAKE/$kind"
fi
status=${lines[0]%%|*}
[[ $status != hangs ]] || exec sleep 60
if ((status)); then exec >&2; fi
text=${lines[0]#*|}
[[ -z $text ]] || printf '%b\n' "$text"
exit "$status"
