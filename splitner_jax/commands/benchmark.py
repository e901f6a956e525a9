"""Throughput of SplitNER beside the baselines, and beside the machine's limit:

splitner benchmark --config=configs/demo.py --budget=3
splitner benchmark --config=configs/wnut17.py --lengths=50,100,200
splitner benchmark --config=configs/demo.py --config.backbone=random:bert-base

DIR/benchmark.md has the ratios first, then how they come about: padding,
compiling, memory, use of the machine's matrix product, the parts of a step,
latency. DIR/benchmark.json has the same to compute with. The systems take
turns, so that a busy machine is busy for all of them; figures are for
comparison with each other, not with another machine's.

Weights are random, for time does not depend on them; `random:` and the name of
a model means its published sizes. The plain tagger on PyTorch needs
`pip install torch` and is left out otherwise.
"""

import logging
import pathlib
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from splitner_jax.commands import cli
from splitner_jax.runtime import memory, sizes
from splitner_jax.runtime.errors import UserError

_LESS_MEMORY = (
  "lower config.inference_batch_size, config.batch_size, --lengths or --types, "
  "or set config.rematerialise"
)


def define_flags() -> None:
  config_flags.DEFINE_config_file("config", None, "as for training")
  flags.DEFINE_list(
    "systems",
    "splitner,single_qa,single_seqtag,torch_tagger",
    "what is measured; also seqtag_qa, no_char_pattern",
  )
  flags.DEFINE_list("phases", "train,inference,latency", "some of these three")
  flags.DEFINE_list(
    "lengths", "", "also made-up sentences of so many tokens, such as 50,500"
  )
  flags.DEFINE_list(
    "types", "", "also made-up sentences with so many entity types"
  )
  flags.DEFINE_list(
    "mentions_per_100_tokens", "", "also made-up sentences of such densities"
  )
  flags.DEFINE_integer(
    "positions", None, "give the backbone so many, for longer sentences"
  )
  flags.DEFINE_float(
    "budget",
    None,
    "minutes after which nothing is begun; what then is left out is listed",
  )
  flags.DEFINE_float(
    "seconds", 20.0, "that the systems take turns, in each phase"
  )
  flags.DEFINE_string("output", "runs/benchmark", "folder of what is written")
  flags.DEFINE_string(
    "model", None, "tag the corpus with this trained SplitNER"
  )
  flags.DEFINE_string(
    "profile",
    None,
    "folder for profiles of training steps, for TensorBoard or Perfetto",
  )


def _numbers(flag: str) -> tuple[float, ...]:
  """The values of a list flag, in order; whole ones as integers."""
  found = []
  for text in getattr(flags.FLAGS, flag):
    try:
      value = float(text)
    except ValueError:
      raise UserError(
        f"--{flag}: {text!r} is no number; give some, such as 50,100"
      ) from None
    whole = value.is_integer()
    if not whole and flag != "mentions_per_100_tokens":
      raise UserError(
        f"--{flag}: {text} is no whole number; give some, such as 50,100"
      )
    found.append(int(value) if whole else value)
  return tuple(sorted(set(found)))


def check_flags() -> None:
  cli.check_config(flags.FLAGS.config)
  for flag in ("lengths", "types", "mentions_per_100_tokens"):
    _numbers(flag)


def main(argv: list[str]) -> None:
  del argv
  memory.disable_malloc_trim()
  from splitner_jax.inference import model_folder
  from splitner_jax.runtime.progress import start_log
  from splitner_jax.throughput import benchmark
  from splitner_jax.throughput.measuring import Settings

  start_log()
  # Each system would tell of its corpus, its plan, and a borrowed tokenizer.
  logging.getLogger("splitner_jax").setLevel(logging.ERROR)
  values = flags.FLAGS
  axes = {
    "tokens": _numbers("lengths"),
    "types": _numbers("types"),
    "mentions": _numbers("mentions_per_100_tokens"),
  }
  output = pathlib.Path(values.output)
  try:
    model = model_folder.load(values.model) if values.model else None
    options = benchmark.Options(
      output,
      shlex.join(["splitner", "benchmark", *sys.argv[1:]]),
      Settings(
        tuple(values.systems),
        tuple(values.phases),
        values.seconds,
        model,
        pathlib.Path(values.profile) if values.profile else None,
      ),
      {axis: found for axis, found in axes.items() if found},
      values.positions,
      values.budget,
    )
    with sizes.told(_LESS_MEMORY):
      benchmark.run(values.config, options)
  except UserError as e:
    cli.fail(str(e))
  print(f"page: {output / 'benchmark.md'}")
