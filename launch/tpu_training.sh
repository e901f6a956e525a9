# shellcheck shell=bash disable=SC2154 # tpu.sh assigns what is not assigned
# Of tpu.sh: a training on the machine, watched from here; vm.sh is what runs
# over there.

most_unreachable=15 # Looks in a row at a machine that is said to be there.

set_up() {
  say "setting up $name"
  scratch=$work/splitner_jax.tar.gz
  # What is hidden is of git and of tools, whose caches may be large.
  [[ -n $dry_run ]] || tar -czf "$scratch" -C "$root" --exclude='./.*' \
    --exclude=./runs --exclude=./data --exclude=__pycache__ .
  tpus tpu-vm scp "$scratch" "$name:splitner_jax.tar.gz" "${where[@]}" \
    --worker=all --quiet || return
  local unpack='mkdir -p splitner_jax && tar -xzf splitner_jax.tar.gz'
  remote all "$unpack -C splitner_jax && $(
    quoted splitner_jax/launch/vm.sh setup ${data:+"--data=$data"}
  )"
}

start() {
  say "training $config"
  # Prints the log of what begins now from its first byte.
  log_offset=0
  remote all "$(quoted splitner_jax/launch/vm.sh start "$workdir" \
    --config="$config" ${given[@]+"${given[@]}"})"
}

# Prints what is new in the log; sets `training` to `absent`, `running` or
# `exited N`. Status 1: the machine did not answer.
log_offset=0
poll() {
  local script=splitner_jax/launch/vm.sh
  remote 0 "if [ -x $script ]; then $script poll $log_offset; else $(
    quoted printf '\n@vm absent\n'
  ); fi" >"$work/poll" 2>"$work/errors" || return
  [[ -z $dry_run ]] || printf '\n@vm %s\n' "$planned_training" >"$work/poll"
  local last
  last=$(tail -n 1 "$work/poll")
  [[ $last == '@vm '* ]] || return
  # All but the last line, and the newline that comes before it.
  LC_ALL=C sed '$d' "$work/poll" >"$work/new"
  local size
  size=$(($(wc -c <"$work/new") - 1))
  ((size <= 0)) || head -c "$size" "$work/new"
  log_offset=$((log_offset + (size > 0 ? size : 0)))
  training=${last#@vm }
}

# Watches until training ends, `training` says how, or the machine is gone,
# which is status 1.
watch() {
  local unreachable=0
  while true; do
    if poll; then
      unreachable=0
      [[ $training == running ]] || return 0
    elif is_gone; then
      return 1
    elif ((++unreachable > most_unreachable)); then
      # One that was taken away may go on being called READY.
      state="$machine, but did not answer"
      return 1
    elif ((unreachable == 1)); then
      say "$name does not answer ($state, machine $machine)"
    fi
    pause
  done
}

interruptions=0
interrupted() {
  ((++interruptions <= preemptions)) || {
    [[ -z $delete_after ]] || give_back
    fail "pre-empted $interruptions times, of which --preemptions=$preemptions" \
      "bears $preemptions; the state is in $workdir, from where the same" \
      "command goes on"
  }
  say "pre-empted ($1), $interruptions of $preemptions times that are borne"
}

failures=0
crashed() {
  ((++failures > crashes)) || {
    say "training ended with status $1; it is begun again, $failures of" \
      "$crashes times"
    return 0
  }
  [[ -z $delete_after ]] || give_back
  echo "error: training ended with status $1, $failures times; its log is" \
    "above and in $workdir/log.txt" >&4
  exit "$1"
}

train() {
  local fresh=yes ended
  while true; do
    look
    [[ $state != NONE ]] || ask
    if ! settle ACTIVE; then
      [[ $state != FAILED ]] || end_failed
      replace
      continue
    fi
    if ! begin; then
      if is_gone; then
        replace
      else
        say "$name could not be set up; see above"
        crashed 1
      fi
      continue
    fi
    fresh='' training=running planned_training='exited 0'
    if ! watch; then
      replace
      continue
    fi
    case $training in
      'exited 0') break ;;
      'exited 143') interrupted "training was asked to stop" ;;
      *) crashed "${training#exited }" ;;
    esac
  done
  say "trained; the results are in $workdir/results"
  [[ -z $delete_after ]] || give_back
}

# Comes to a training that is there already, else sets up and starts one.
begin() {
  training=absent planned_training=absent
  if poll; then
    # What ended badly before this command began is begun again.
    case ${fresh:-no}:$training in
      *:running | 'yes:exited 0') return 0 ;;
    esac
  fi
  set_up && start
}

# Gives back a machine that was taken away, so that its name is free.
replace() {
  ended=$state log_offset=0
  give_back
  interrupted "$ended"
}
