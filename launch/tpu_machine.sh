# shellcheck shell=bash disable=SC2154 # tpu.sh assigns what is not assigned
# Of tpu.sh: the commands of gcloud, and the states of a machine. A queued
# resource is a request; once it is ACTIVE, it has a machine with states of its
# own. Ended requests (FAILED, SUSPENDED) stay, use quota and block their name:
# they are deleted.

# How long a second is: tests make it short.
second=${SPLITNER_LAUNCH_SECOND:-1}
look_seconds=20   # Between two looks at a machine.
most_unanswered=5 # Looks in a row to which gcloud has no answer.

# ---- Commands of gcloud.

tpus() {
  if [[ -n $dry_run ]]; then
    printf 'gcloud compute tpus' >&3
    printf ' %q' "$@" >&3
    printf '\n' >&3
  else
    gcloud compute tpus "$@"
  fi
}

queued() {
  local verb=$1
  shift
  tpus queued-resources "$verb" "$name" "${where[@]}" "$@"
}

# A dead connection ends, instead of hanging as long as TCP likes.
remote() {
  local worker=$1
  tpus tpu-vm ssh "$name" "${where[@]}" --worker="$worker" --quiet \
    --ssh-flag=-oConnectTimeout=20 --ssh-flag=-oServerAliveInterval=15 \
    --ssh-flag=-oServerAliveCountMax=4 --command="$2" </dev/null
}

is_not_found() {
  grep -qE 'NOT_FOUND|not found|could not be found' "$work/errors"
}

quoted() {
  local word
  printf -v word ' %q' "$@"
  printf '%s' "${word# }"
}

pause() {
  [[ -z $dry_run ]] || return 0
  sleep "$pause_length" &
  pauser=$!
  wait "$pauser" || true
  pauser=''
}
pause_length=$(awk "BEGIN { print $look_seconds * $second }")

# ---- The state machine.

# Sets `state` to that of the request, or NONE; `held` follows.
unanswered=0
look() {
  while true; do
    if state=$(
      queued describe --format='value(state.state)' 2>"$work/errors"
    ); then
      [[ -z $dry_run ]] || state=$planned
      state=${state:-UNKNOWN}
      unanswered=0
      held=yes
      [[ $state != NONE ]] || held=no
      return
    fi
    if is_not_found; then
      state=NONE unanswered=0 held=no
      return
    fi
    # Whoever is not logged in hears that at once.
    state=UNKNOWN
    if [[ $held == unknown ]] || ((++unanswered > most_unanswered)); then
      cat "$work/errors" >&2
      fail "gcloud does not say what $name is; see above"
    fi
    pause
  done
}

# Minutes that a state may last, until it is said to be stuck.
deadline() {
  case $1 in
    WAITING_FOR_RESOURCES | ACCEPTED) echo "$wait" ;;
    PROVISIONING) echo 45 ;;
    ACTIVE) echo 20 ;; # Until the machine itself is ready.
    DELETING) echo 30 ;;
    CREATING | SUSPENDING) echo 15 ;;
    *) echo 10 ;;
  esac
}

ask() {
  local request=(
    --node-id="$name" --accelerator-type="$accelerator"
    --runtime-version="$runtime" ${spot[@]+"${spot[@]}"}
  )
  # From now on: a request may have arrived though its answer did not.
  held=yes state=requested planned=ACTIVE
  say "asking for $accelerator as $name in $zone"
  if ! queued create "${request[@]}" 2>"$work/errors"; then
    cat "$work/errors" >&2
    look
    [[ $state != NONE ]] || fail "$name was not asked for; see above"
  fi
}

# Gives the request and its machine back, whatever state they are in.
give_back() {
  planned=NONE
  if ! queued delete --force --quiet 2>"$work/errors" && ! is_not_found; then
    cat "$work/errors" >&2
    say "gcloud could not delete $name; see above"
  fi
  settle NONE || fail "$name is $state and not deleted"
}

# The state of the machine itself, which has one beside the request's.
machine_state() {
  local found
  if found=$(
    tpus tpu-vm describe "$name" "${where[@]}" --format='value(state)' \
      2>"$work/errors"
  ); then
    [[ -z $dry_run ]] || found=READY
    echo "${found:-UNKNOWN}"
  elif is_not_found; then
    echo NONE
  else
    echo UNKNOWN
  fi
}

# Waits until the request is ACTIVE and its machine READY (`settle ACTIVE`), or
# gone (`settle NONE`). Status 1: it ended in another state, which `state` says.
settle() {
  local wanted=$1 looks=0 before='' now limit
  while true; do
    look
    machine=''
    [[ $state != ACTIVE || $wanted != ACTIVE ]] || machine=$(machine_state)
    now=$state${machine:+, machine $machine}
    if [[ $now != "$before" ]]; then
      [[ -n $dry_run ]] || say "$name: $now"
      before=$now looks=0
    fi
    case $wanted:$state in
      NONE:NONE) return 0 ;;
      ACTIVE:ACTIVE)
        case $machine in
          READY) return 0 ;;
          PREEMPTED | TERMINATED | STOPPED | NONE)
            state="machine $machine"
            return 1
            ;;
        esac
        ;;
      ACTIVE:SUSPENDED | ACTIVE:FAILED | ACTIVE:NONE) return 1 ;;
    esac
    limit=$(deadline "$state")
    ((looks++ * look_seconds < 60 * limit)) ||
      fail "$name has been $now for $limit minutes, which is too long"
    pause
  done
}

# Whether the machine is no longer there, `state` says how it ended; `machine`
# is its own state.
is_gone() {
  look
  machine=NONE
  [[ $state == ACTIVE ]] || return 0
  machine=$(machine_state)
  case $machine in
    PREEMPTED | TERMINATED | STOPPED | NONE) state="machine $machine" ;;
    *) return 1 ;;
  esac
}

# Why a request failed, in Google's words.
why_failed() {
  queued describe --format='value(state.failedData.error.message)' \
    2>/dev/null || true
}

# Deletes what is never queued again and blocks the name; ends the script.
end_failed() {
  local ended=$state reason
  reason=$(why_failed)
  give_back
  fail "$name was $ended${reason:+: $reason}; the request is deleted"
}

