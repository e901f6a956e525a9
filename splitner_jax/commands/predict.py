"""Tags a file:

splitner predict --model=FOLDER --input=FILE --output=FILE

reads plain text (one row of output for each line), JSON Lines with "text" or
"tokens", or columns, and writes --format=jsonl, conll, text, html, brat, or a
docbin of spaCy.
"""

import itertools
import os
import pathlib
import sys
from collections.abc import Collection, Iterator
from typing import BinaryIO

import tqdm
from absl import flags
from absl import logging as absl_logging

from splitner_jax.commands import cli, data_flags, tagging_flags
from splitner_jax.inference import output_formats, pipeline
from splitner_jax.inference.documents import KINDS, Row, read_rows
from splitner_jax.runtime import progress, sizes, streams
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, refuse_device


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
    skip_errors: whether to leave out lines that cannot be read.
    colour: whether the output goes to a terminal.
    batch_size: of `SplitNER.from_pretrained`.
    threshold, labels: of `SplitNER.stream`.
    input_format, word_column: `kind` and `word_column` of `read_rows`.

  Raises:
    UserError: the model cannot be loaded, or a line not be read.
  """
  ner = pipeline.SplitNER.from_pretrained(model, batch_size=batch_size)
  bar = progress.bar(total=_size(source), unit="B", unit_scale=True, short=True)
  skipped = 0

  def on_error(error: UserError) -> None:
    nonlocal skipped
    if not skip_errors:
      raise error
    skipped += 1
    tqdm.tqdm.write(f"skipped: {error}", file=sys.stderr)

  def lines() -> Iterator[bytes]:
    try:
      for line in source:
        bar.update(len(line))
        yield line
    except OSError as e:
      raise UserError(
        f"{name}: cannot be read ({e.strerror}); give another --input"
      ) from e

  with bar:
    # One copy of the rows is read ahead by as much as is tagged at a time.
    found_rows = read_rows(
      lines(), name, on_error, kind=input_format, word_column=word_column
    )
    ahead, rows = itertools.tee(found_rows)
    found = ner.stream(
      (row.content for row in ahead), threshold=threshold, labels=labels
    )
    style = output_formats.Style(ner.labels, ner.sentences, colour)
    tagged: Iterator[tuple[Row, list[pipeline.Entity]]] = zip(
      rows, found, strict=True
    )
    yield from output_formats.FORMATS[output_format](tagged, style)
  if skipped:
    print(f"skipped {skipped} lines of {name}", file=sys.stderr)


def _size(source: BinaryIO) -> int | None:
  try:
    return os.fstat(source.fileno()).st_size or None
  except OSError:
    return None


def _open(path: str) -> BinaryIO:
  try:
    file: BinaryIO = open(path, "rb")  # noqa: SIM115 (the caller reads it)
  except OSError as e:
    raise UserError(f"--input: {path}: {e.strerror}; check the path") from e
  refuse_device(file.fileno(), f"--input: {path}")
  return file


def define_flags() -> None:
  flags.DEFINE_string("model", None, "folder of a model, or its hub id")
  flags.DEFINE_string("input", "-", "a file, or - for standard input")
  flags.DEFINE_string("output", "-", "a file, or - for standard output")
  flags.DEFINE_enum(
    "format", "jsonl", [*output_formats.FORMATS], "of the output"
  )
  flags.DEFINE_enum(
    "input_format",
    "auto",
    ["auto", *KINDS],
    "of the input; auto goes by the file's name and its first lines",
  )
  data_flags.define_columns()
  flags.DEFINE_enum(
    "on-error",
    "fail",
    ["skip", "fail"],
    "what to do about a line that is broken",
  )
  tagging_flags.define_choice()
  tagging_flags.define_batch_size()


def check_flags() -> None:
  if not flags.FLAGS.model:
    raise UserError("--model is missing; give the folder `model` of a run")
  if pathlib.Path(flags.FLAGS.output).is_dir():
    raise UserError(f"--output: {flags.FLAGS.output} is a folder; give a file")
  if flags.FLAGS.format == "brat" and flags.FLAGS["on-error"].value == "skip":
    # Its offsets are those of the whole input.
    raise UserError(
      "--format: brat needs every line; leave out --on-error=skip"
    )
  pipeline.check_choice(flags.FLAGS.threshold, flags.FLAGS.labels)


def main(argv: list[str]) -> None:
  del argv
  absl_logging.set_verbosity(absl_logging.WARNING)
  to_terminal = flags.FLAGS.output == "-"
  try:
    auto = flags.FLAGS.input_format == "auto"
    from_pipe = flags.FLAGS.input == "-"
    source = sys.stdin.buffer if from_pipe else _open(flags.FLAGS.input)
    if from_pipe:
      refuse_device(source.fileno(), "standard input")
    parts = tag(
      str(flags.FLAGS.model),
      source,
      "standard input" if from_pipe else flags.FLAGS.input,
      output_format=flags.FLAGS.format,
      skip_errors=flags.FLAGS["on-error"].value == "skip",
      colour=to_terminal and sys.stdout.isatty(),
      threshold=flags.FLAGS.threshold,
      labels=flags.FLAGS.labels,
      input_format=None if auto else flags.FLAGS.input_format,
      word_column=flags.FLAGS.word_column,
      batch_size=flags.FLAGS.batch_size,
    )
    if to_terminal:
      with sizes.told("lower --batch_size"):
        streams.write_output(parts)
    else:
      with sizes.told("lower --batch_size"):
        atomic_write(flags.FLAGS.output, parts)
  except UserError as e:
    cli.fail(str(e))
