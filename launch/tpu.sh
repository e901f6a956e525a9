#!/usr/bin/env bash
# Trains on a Cloud TPU. Run `launch/tpu.sh --help`; launch/README.md has the
# whole way. Nothing but gcloud is needed on this machine.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/tpu.sh COMMAND --name=NAME --zone=ZONE [options] [-- OPTIONS]

  create   asks for a machine and waits until it is there
  setup    copies the checkout to it and installs what training needs
  train    does both where needed, trains, and goes on after pre-emptions
  logs     prints the end of the training's log
  status   says what is held and what it does
  delete   gives the machine back

  --name=NAME           of the machine: small letters, digits and hyphens
  --zone=ZONE           where it is, such as us-west4-a
  --project=PROJECT     of Google Cloud (gcloud's own default)
  --accelerator=TYPE    v5litepod-1, -4 or -8 (the default), v6e-1, -4 or -8
  --spot                cheaper, and may be taken away at any moment
  --wait=MINUTES        for a free machine (1440)
  --config=FILE         to train, in the checkout: configs/ontonotes.py
  --workdir=gs://...    for the state and the results of the training
  --data=gs://...       a folder that is copied to data/ of the checkout
  --preemptions=COUNT   that are borne (20)
  --crashes=COUNT       after which training is begun again (1)
  --delete              at the end of `train`, also after a crash
  --dry-run             prints each command of gcloud, runs none

What follows -- is for training: -- --config.data.dir=data
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
me=launch/tpu.sh

# For what is said while the output of a command goes elsewhere.
exec 3>&1 4>&2

fail() {
  echo "error: $*" >&4
  exit 1
}

say() {
  echo "tpu: $*" >&4
}

# ---- The command line.

command='' name='' zone='' project=() accelerator=v5litepod-8 spot=() wait=1440
config='' workdir='' data='' preemptions=20 crashes=1 delete_after='' dry_run=''
given=()

while (($#)); do
  case $1 in
    create | setup | train | logs | status | delete)
      [[ -z $command ]] || fail "$1: there is a command already, $command"
      command=$1
      ;;
    --name=?*) name=${1#*=} ;;
    --zone=?*) zone=${1#*=} ;;
    --project=?*) project=("$1") ;;
    --accelerator=?*) accelerator=${1#*=} ;;
    --spot) spot=(--spot) ;;
    --wait=?*) wait=${1#*=} ;;
    --config=?*) config=${1#*=} ;;
    --workdir=?*) workdir=${1#*=} ;;
    --data=?*) data=${1#*=} ;;
    --preemptions=?*) preemptions=${1#*=} ;;
    --crashes=?*) crashes=${1#*=} ;;
    --delete) delete_after=yes ;;
    --dry-run) dry_run=yes ;;
    --help | -h)
      usage
      exit
      ;;
    --)
      shift
      given=("$@")
      break
      ;;
    *) fail "$1: no such argument, or no value; $me --help has them all" ;;
  esac
  shift
done

[[ -n $command ]] || fail "which command? $me --help has them all"
[[ $name =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
  fail "--name: '$name' is not made of small letters, digits and hyphens"
[[ $zone =~ ^[a-z0-9]+-[a-z0-9]+-[a-z]$ ]] ||
  fail "--zone: '$zone' is no zone such as us-west4-a"
for number in "wait=$wait" "preemptions=$preemptions" "crashes=$crashes"; do
  [[ ${number#*=} =~ ^[0-9]{1,6}$ ]] ||
    fail "--${number%%=*}: '${number#*=}' is no whole number"
done
case $accelerator in
  v5litepod-1 | v5litepod-4 | v5litepod-8) runtime=v2-alpha-tpuv5-lite ;;
  v6e-1 | v6e-4 | v6e-8) runtime=v2-alpha-tpuv6e ;;
  v5litepod-* | v6e-*)
    fail "--accelerator: $accelerator has several hosts, and training runs" \
      "on one; take up to ${accelerator%-*}-8"
    ;;
  *)
    fail "--accelerator: '$accelerator' is none of v5litepod-1, -4, -8," \
      "v6e-1, -4, -8"
    ;;
esac
if [[ $command == train ]]; then
  [[ -n $config ]] || fail "--config is missing, such as configs/ontonotes.py"
  [[ -f $root/${config%%:*} ]] ||
    fail "--config: there is no ${config%%:*} in the checkout"
  [[ $workdir == gs://?*/?* ]] ||
    fail "--workdir: '$workdir' is no folder in a bucket, gs://BUCKET/FOLDER"
fi
[[ -z $data || $data == gs://?* ]] ||
  fail "--data: '$data' is no folder in a bucket, gs://BUCKET/FOLDER"
[[ -n $dry_run ]] || type gcloud >/dev/null 2>&1 ||
  fail "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"

where=(--zone="$zone" ${project[@]+"${project[@]}"})

# ---- How it ends: whatever happens, what is held is said.

held=unknown state=unknown pauser='' work=$(mktemp -d) scratch=''
give_back_line="$me delete --name=$name --zone=$zone${project[*]:+ ${project[*]}}"

at_exit() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  [[ -z $pauser ]] || kill "$pauser" 2>/dev/null || true
  rm -rf "$work"
  if [[ -z $dry_run ]]; then
    case $held in
      yes)
        say "still held: $name in $zone, $state when last seen; it costs" \
          "until you run: $give_back_line"
        ;;
      no) say "nothing is held: there is no $name in $zone" ;;
      *)
        say "it is not known whether $name in $zone is held; look at it with:" \
          "$me status --name=$name --zone=$zone${project[*]:+ ${project[*]}}"
        ;;
    esac
  fi
  exit "$status"
}

stop() {
  echo >&4
  if [[ $command == train ]]; then
    say "stopped watching; what runs goes on, and the same command comes back" \
      "to it"
  else
    say "stopped"
  fi
  exit "$1"
}

trap at_exit EXIT
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP

# shellcheck source=launch/tpu_machine.sh
source "$root/launch/tpu_machine.sh"
# shellcheck source=launch/tpu_training.sh
source "$root/launch/tpu_training.sh"

# ---- The commands.

planned=ACTIVE
case $command in
  create)
    planned=NONE
    look
    if [[ $state == NONE ]]; then
      ask
    fi
    if ! settle ACTIVE; then
      end_failed
    fi
    ;;
  setup)
    look
    [[ $state == ACTIVE ]] || fail "$name is $state; create it first"
    set_up || fail "$name could not be set up; see above"
    ;;
  train)
    planned=NONE
    train
    ;;
  logs)
    look
    [[ $state == ACTIVE ]] || fail "$name is $state; there is no log"
    remote 0 'splitner_jax/launch/vm.sh log' || fail "$name does not answer"
    ;;
  status)
    look
    echo "request: $state"
    [[ $state == ACTIVE ]] || exit 0
    echo "machine: $(machine_state)"
    training='no answer' planned_training=running log_offset=999999999
    poll >/dev/null || true
    echo "training: $training"
    ;;
  delete)
    give_back
    ;;
esac
