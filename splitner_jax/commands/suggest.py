"""Ranks texts that nobody has annotated by what a model would learn from them:

splitner suggest --model=FOLDER --input=FILE --top=100

reads what `splitner predict` reads. Its output is JSON Lines: the texts of
which the model is least sure come first, each with its `uncertainty` (of
--measure) and what is `unsure`: labels of words by the step that finds spans,
types of spans by the step that names them. `splitner predict` tags it.
"""

import json
from collections.abc import Iterator
from typing import BinaryIO

from absl import flags
from absl import logging as absl_logging

from splitner_jax.commands import cli, texts
from splitner_jax.inference import pipeline, suggesting
from splitner_jax.runtime.errors import UserError


def suggest(
  model: str,
  source: BinaryIO,
  name: str,
  *,
  measure: str = "mean",
  top: int | None = None,
  batch_size: int = 32,
  skip_errors: bool = False,
  input_format: str | None = None,
  word_column: int = 0,
) -> Iterator[str]:
  """The lines of the output.

  Args:
    model: folder or hub id; loaded when the first line is asked for.
    source: the file.
    name: of the file, for its extension and for messages.
    measure, top: of `suggesting.rank`.
    batch_size: of `SplitNER.from_pretrained`.
    skip_errors, input_format, word_column: of `texts.opened`.

  Raises:
    UserError: the model cannot be loaded, or a line not be read.
  """
  ner = pipeline.SplitNER.from_pretrained(model, batch_size=batch_size)
  with texts.opened(
    source,
    name,
    skip_errors=skip_errors,
    input_format=input_format,
    word_column=word_column,
  ) as rows:
    ranked = suggesting.rank(ner, rows, measure=measure, top=top)
  for suggestion in ranked:
    yield json.dumps(suggestion.record(), ensure_ascii=False) + "\n"


def define_flags() -> None:
  texts.define_flags()
  flags.DEFINE_integer(
    "top", None, "at most so many texts; if not given, all", lower_bound=1
  )
  flags.DEFINE_enum(
    "measure",
    "mean",
    [*suggesting.MEASURES],
    "surprise of the model's own answer: its mean by words, its sum, for which "
    "long texts come first, or its maximum",
  )


def check_flags() -> None:
  texts.check_flags()


def main(argv: list[str]) -> None:
  del argv
  absl_logging.set_verbosity(absl_logging.WARNING)
  try:
    texts.write(
      suggest(
        str(flags.FLAGS.model),
        *texts.source(),
        measure=flags.FLAGS.measure,
        top=flags.FLAGS.top,
        batch_size=flags.FLAGS.batch_size,
        **texts.given(),
      )
    )
  except UserError as e:
    cli.fail(str(e))
