#!/usr/bin/env bash
# Stands for `gcloud storage` in tests: gs://X is the folder $FAKE/X. Nothing
# can be read where there is $FAKE/broken.
set -eu

[[ $1 == storage ]] || exit 99
verb=$2
shift 2
paths=() exclude=()
for word in "$@"; do
  case $word in
    gs://*) paths+=("$FAKE/${word#gs://}") ;;
    --quiet | --recursive) ;;
    "--exclude=(.*/)?checkpoints/.*") exclude=(--exclude=checkpoints) ;;
    -*) exit 98 ;;
    *) paths+=("$word") ;;
  esac
done
if [[ -e $FAKE/broken ]]; then
  echo "ERROR: permission denied" >&2
  exit 1
fi
case $verb in
  ls)
    if [[ ! -e ${paths[0]} ]]; then
      echo "ERROR: One or more URLs matched no objects." >&2
      exit 1
    fi
    ;;
  cp)
    mkdir -p "$(dirname "${paths[1]}")"
    # Whole or not at all, as in a bucket.
    cp "${paths[0]}" "${paths[1]}.part"
    mv "${paths[1]}.part" "${paths[1]}"
    ;;
  rsync)
    mkdir -p "${paths[1]}"
    tar -c -C "${paths[0]}" "${exclude[@]}" . | tar -x -C "${paths[1]}"
    ;;
  *) exit 97 ;;
esac
