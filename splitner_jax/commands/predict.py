"""Tags a file:

splitner predict --model=FOLDER --input=FILE --output=FILE

reads plain text (one row of output for each line), JSON Lines with "text" or
"tokens", or columns, and writes --format=jsonl, conll, text, html, brat, or a
docbin of spaCy.
"""

import itertools
import sys
from collections.abc import Collection, Iterator
from typing import BinaryIO

from absl import flags
from absl import logging as absl_logging

from splitner_jax.commands import cli, tagging_flags, texts
from splitner_jax.inference import checks, output_formats, pipeline
from splitner_jax.inference.documents import Row
from splitner_jax.runtime.errors import UserError


def tag(
  model: str,
  source: BinaryIO,
  name: str,
  *,
  output_format: str = "jsonl",
  skip_errors: bool = False,
  colour: bool = False,
  batch_size: int = 32,
  threshold: float | None = None,
  labels: Collection[str] | None = None,
  input_format: str | None = None,
  word_column: int = 0,
) -> Iterator[str | bytes]:
  """Tags a file, part by part of the output.

  Args:
    model: folder or hub id; loaded when the first part is asked for.
    source: the file.
    name: of the file, for its extension and for messages.
    output_format: a key of `output_formats.FORMATS`.
    skip_errors: of `texts.opened`.
    colour: whether the output goes to a terminal.
    batch_size: of `SplitNER.from_pretrained`.
    threshold, labels: of `SplitNER.stream`.
    input_format, word_column: of `texts.opened`.

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
  ) as found_rows:
    # One copy of the rows is read ahead by as much as is tagged at a time.
    ahead, rows = itertools.tee(found_rows)
    found = ner.stream(
      (row.content for row in ahead), threshold=threshold, labels=labels
    )
    style = output_formats.Style(ner.labels, ner.sentences, colour)
    tagged: Iterator[tuple[Row, list[pipeline.Entity]]] = zip(
      rows, found, strict=True
    )
    yield from output_formats.FORMATS[output_format](tagged, style)


def define_flags() -> None:
  texts.define_flags()
  flags.DEFINE_enum(
    "format", "jsonl", [*output_formats.FORMATS], "of the output"
  )
  tagging_flags.define_choice()


def check_flags() -> None:
  texts.check_flags()
  if flags.FLAGS.format == "brat" and texts.given()["skip_errors"]:
    # Its offsets are those of the whole input.
    raise UserError(
      "--format: brat needs every line; leave out --on-error=skip"
    )
  checks.check_choice(flags.FLAGS.threshold, flags.FLAGS.labels)


def main(argv: list[str]) -> None:
  del argv
  absl_logging.set_verbosity(absl_logging.WARNING)
  try:
    texts.write(
      tag(
        str(flags.FLAGS.model),
        *texts.source(),
        output_format=flags.FLAGS.format,
        colour=flags.FLAGS.output == "-" and sys.stdout.isatty(),
        threshold=flags.FLAGS.threshold,
        labels=flags.FLAGS.labels,
        batch_size=flags.FLAGS.batch_size,
        **texts.given(),
      )
    )
  except UserError as e:
    cli.fail(str(e))
