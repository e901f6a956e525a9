#!/usr/bin/env bash
# What tpu.sh runs on the machine, in its copy of the checkout:
#   launch/vm.sh setup [--data=gs://...]   installs all that training needs
#   launch/vm.sh start gs://... OPTIONS    trains, also when nobody is logged in
#   launch/vm.sh poll OFFSET               the log from there, and how it goes
#   launch/vm.sh log                       the end of the log
# The machine may vanish at any moment: every few minutes the whole run folder
# is one object in the bucket, and a training begins with what is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
second=${SPLITNER_LAUNCH_SECOND:-1} # Tests make it short.
save_seconds=300
run=runs/cloud
own=runs/.vm # What is of this script: log, pid, status.

fail() {
  echo "error: $*" >&2
  exit 1
}

# ---- setup

# The images have Python 3.10; this is the newest that they can get.
find_python() {
  local name
  for name in python3.12 python3.11; do
    if type "$name" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  python3 -m pip install --quiet --user uv >&2 &&
    python3 -m uv python install --quiet 3.12 >&2 &&
    python3 -m uv python find 3.12
}

setup() {
  local data=''
  case ${1:-} in
    --data=gs://?*) data=${1#--data=} ;;
    '') ;;
    *) fail "$1: unknown; usage: launch/vm.sh setup [--data=gs://...]" ;;
  esac
  local python
  python=$(find_python) || fail "no Python 3.11 or later can be installed"
  PYTHON=$python launch/setup.sh --tpu
  if [[ -n $data ]]; then
    mkdir -p data
    gcloud storage rsync --recursive "$data" data
  fi
}

# ---- start

is_running() {
  local pid
  pid=$(cat "$own/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null &&
    # After a restart the number may be another's. Lines of any width.
    [[ $(ps -ww -o args= -p "$pid" 2>/dev/null) == *'vm.sh run'* ]]
}

start() {
  ! is_running || fail "there is a training already"
  mkdir -p "$own"
  rm -f "$own/status" "$own/pid"
  : >"$own/log"
  # Of a session of its own: it does not end with the connection.
  setsid nohup "$root/launch/vm.sh" run "$@" >>"$own/log" 2>&1 </dev/null &
  echo $! >"$own/pid"
  local tries=0
  until is_running || [[ -f $own/status ]] || ((++tries > 100)); do
    sleep 0.05
  done
}

# Packs the run folder into one file: status 1 where something changed under it.
#
# Checkpoints appear whole, but an old one goes while this reads. The latest
# state is packed first: the best parameters may be newer than what it knows of,
# not older.
pack() {
  find "$run" ! -type d -path '*/latest/*' -print0 >"$own/files" &&
    find "$run" ! -type d ! -path '*/latest/*' -print0 >>"$own/files" &&
    tar -cf "$own/state.tar" --null --no-recursion -T "$own/files" 2>/dev/null
}

# Puts the run folder into the bucket, if there is anything new: whole, or not
# at all.
save() {
  local workdir=$1 tries=0 status=0
  [[ -d $run ]] || return 0
  if [[ -f $own/packed && -z $(find "$run" -newer "$own/packed" -print -quit) ]]
  then
    return 0
  fi
  touch "$own/packing"
  until pack; do
    ((++tries < 5)) || return 1
    sleep "$second"
    touch "$own/packing"
  done
  gcloud storage cp --quiet "$own/state.tar" "$workdir/state.tar" || status=1
  rm -f "$own/state.tar"
  ((status)) || mv "$own/packing" "$own/packed"
  return "$status"
}

# Brings the state from the bucket, if there is one. What is on the machine is
# newer: it is left alone.
restore() {
  local workdir=$1
  [[ ! -d $run ]] || return 0
  if gcloud storage ls "$workdir/state.tar" >/dev/null 2>"$own/errors"; then
    gcloud storage cp --quiet "$workdir/state.tar" "$own/state.tar" &&
      tar -xf "$own/state.tar" && rm "$own/state.tar"
  elif ! grep -qi 'matched no objects' "$own/errors"; then
    # Not to begin anew, and write over it.
    cat "$own/errors" >&2
    fail "$workdir cannot be read; see above"
  fi
}

# What people read of a run: all but checkpoints.
publish() {
  [[ ! -d $run ]] || gcloud storage rsync --quiet --recursive \
    --exclude='(.*/)?checkpoints/.*' "$run" "$1/results"
  gcloud storage cp --quiet "$own/log" "$1/log.txt"
}

run() {
  local workdir=$1 training='' saver='' status=0
  shift
  # What is asked of this process is meant for training; it ends by itself.
  trap '[[ -z $training ]] || kill -TERM "$training"' TERM
  restore "$workdir"
  "${VIRTUAL_ENV:-$root/.venv}/bin/python" -u -m splitner_jax.main \
    --workdir="$run" "$@" &
  training=$!
  (
    while sleep "$(awk "BEGIN { print $save_seconds * $second }")"; do
      save "$workdir" || echo "vm: the state was not saved this time" >&2
    done
  ) &
  saver=$!
  # A signal ends `wait`, not the training.
  while kill -0 "$training" 2>/dev/null; do
    wait "$training" || true
  done
  wait "$training" || status=$?
  pkill -P "$saver" 2>/dev/null || true
  kill "$saver" 2>/dev/null || true
  wait "$saver" 2>/dev/null || true
  if ! save "$workdir" || ! publish "$workdir"; then
    echo "error: the results are not in $workdir, but on this machine" >&2
    ((status)) || status=1
  fi
  echo "vm: training ended with status $status"
  return "$status"
}

# ---- poll

# The state first, then the log: what has ended has its whole log.
poll() {
  local offset=$1 now=absent
  if is_running; then
    now=running
  elif [[ -f $own/status ]]; then
    now="exited $(<"$own/status")"
  elif [[ -f $own/log ]]; then
    now='exited 137' # It was killed, or the machine began anew.
  fi
  tail -c "+$((offset + 1))" "$own/log" 2>/dev/null || true
  printf '\n@vm %s\n' "$now"
}

verb=${1:-}
shift || true
case $verb in
  setup) setup "$@" ;;
  start)
    [[ ${1:-} == gs://?* ]] || fail "start: no bucket: '${1:-}'"
    start "$@"
    ;;
  run)
    # Not with `||`, which would make errors inside of no effect.
    trap 'echo $? >"$own/status"' EXIT
    run "$@"
    ;;
  poll) poll "${1:?offset}" ;;
  log) tail -n 200 "$own/log" ;;
  *) fail "'$verb': unknown; see the top of launch/vm.sh" ;;
esac
