"""Flags of commands that tag text: how, and which entities."""

from absl import flags


def define_choice() -> None:
  """Which entities are given."""
  flags.DEFINE_float(
    "threshold", None, "the least score; if not given, the model's thresholds"
  )
  flags.DEFINE_list("labels", None, "only entities of these types: A,B,...")


def define_batch_size() -> None:
  flags.DEFINE_integer(
    "batch_size", 32, "sentences that are computed at a time, about"
  )
