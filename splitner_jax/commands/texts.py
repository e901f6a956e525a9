"""What commands that read texts share: where from, how, and where to."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypedDict

import tqdm
from absl import flags

from splitner_jax.commands import data_flags, tagging_flags
from splitner_jax.inference.documents import KINDS, Row, read_rows
from splitner_jax.runtime import progress, sizes, streams
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, refuse_device


class Given(TypedDict):
  """What the flags say of reading; see `opened`."""

  skip_errors: bool
  input_format: str | None
  word_column: int


def define_flags() -> None:
  """Model, input and output."""
  flags.DEFINE_string("model", None, "folder of a model, or its hub id")
  flags.DEFINE_string("input", "-", "a file, or - for standard input")
  flags.DEFINE_string("output", "-", "a file, or - for standard output")
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
  tagging_flags.define_batch_size()


def check_flags() -> None:
  """Raises UserError without a model, or if the output cannot be a file."""
  if not flags.FLAGS.model:
    raise UserError("--model is missing; give the folder `model` of a run")
  output = flags.FLAGS.output
  try:
    is_folder = pathlib.Path(output).is_dir()
  except OSError as error:
    raise UserError(
      f"--output: {output} cannot be looked at ({error.strerror}); choose "
      "another place"
    ) from None
  if is_folder:
    raise UserError(f"--output: {output} is a folder; give a file")


def given() -> Given:
  """What the flags say of reading."""
  auto = flags.FLAGS.input_format == "auto"
  return Given(
    skip_errors=flags.FLAGS["on-error"].value == "skip",
    input_format=None if auto else flags.FLAGS.input_format,
    word_column=flags.FLAGS.word_column,
  )


def source() -> tuple[BinaryIO, str]:
  """The input that the flags name, and its name for messages.

  Raises:
    UserError: it cannot be opened, or is a device.
  """
  path = flags.FLAGS.input
  if path == "-":
    refuse_device(sys.stdin.buffer.fileno(), "standard input")
    return sys.stdin.buffer, "standard input"
  try:
    file: BinaryIO = open(path, "rb")  # noqa: SIM115 (the caller reads it)
  except OSError as e:
    raise UserError(f"--input: {path}: {e.strerror}; check the path") from e
  refuse_device(file.fileno(), f"--input: {path}")
  return file, path


@contextlib.contextmanager
def opened(
  source: BinaryIO,
  name: str,
  *,
  skip_errors: bool = False,
  input_format: str | None = None,
  word_column: int = 0,
) -> Iterator[Iterator[Row]]:
  """The texts of a file, with a progress bar while the context is open.

  Args:
    source: the file.
    name: of the file, for its extension and for messages.
    skip_errors: whether to leave out lines that cannot be read; how many, is
      said at the end.
    input_format, word_column: `kind` and `word_column` of `read_rows`.

  Raises:
    UserError: a line cannot be read.
  """
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
    yield read_rows(
      lines(), name, on_error, kind=input_format, word_column=word_column
    )
  if skipped:
    print(f"skipped {skipped} lines of {name}", file=sys.stderr)


def _size(source: BinaryIO) -> int | None:
  try:
    return os.fstat(source.fileno()).st_size or None
  except OSError:
    return None


def write(parts: Iterable[str | bytes]) -> None:
  """Writes to the output that the flags name; a file whole or not at all."""
  with sizes.told("lower --batch_size"):
    if flags.FLAGS.output == "-":
      streams.write_output(parts)
    else:
      atomic_write(flags.FLAGS.output, parts)
