"""What a job of `bulk` reads: files as shards of texts, and their failures."""

import dataclasses
import io
from collections.abc import Iterator

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from splitner_jax.inference.documents import Row, json_row, row_of_record
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed
from splitner_jax.runtime.files import decode
from splitner_jax.runtime.types import Json

AS_IT_IS = CompressionTypes.UNCOMPRESSED


@dataclasses.dataclass(frozen=True)
class Options:
  """What a job does; a rerun has to do the same.

  Attributes:
    model: folder or hub id, that every worker can read.
    format: of the output.
    threshold, labels: as of `SplitNER.predict`.
    batch_size: as of `SplitNER.from_pretrained`.
    shard_texts: texts of a shard, at most; of Parquet a shard is a row group.
  """

  model: str
  format: str = "jsonl"
  threshold: float | None = None
  labels: tuple[str, ...] | None = None
  batch_size: int = 32
  shard_texts: int = 2000


@dataclasses.dataclass(frozen=True)
class Shard:
  """A part of a file.

  Attributes:
    path: of the file.
    number: of the part, from 0.
    first: number of its first line or row, from 1.
    start, end: bytes of the file; of Parquet nothing.
    target: file to be written.
  """

  path: str
  number: int
  first: int
  start: int
  end: int
  target: str


Failure = Json
"""`file`, `line`, `reason` and, if it can be kept, `record` of a text."""


@dataclasses.dataclass
class Texts:
  """The texts of a shard, and what was wrong with others."""

  shard: Shard
  rows: list[Row]
  failures: list[Failure]


def is_parquet(path: str) -> bool:
  """Whether a file of this name is Parquet."""
  return path.lower().endswith(".parquet")


def shards(
  path: str, name: str, output: str, options: Options
) -> Iterator[Shard]:
  """The parts of a file, in order, for any number of runs the same.

  Args:
    path: of the file.
    name: begins the names of its shards.
    output: folder of the shards.
    options: of the job.
  """

  def shard(number: int, first: int, start: int, end: int) -> Shard:
    target = FileSystems.join(output, f"{name}-{number:05}.{options.format}")
    return Shard(path, number, first, start, end, target)

  with FileSystems.open(path, compression_type=AS_IT_IS) as file:
    if is_parquet(path):
      parquet = needed("pyarrow.parquet", "beam", path)
      groups = parquet.ParquetFile(file).metadata
      first = 1
      for i in range(groups.num_row_groups):
        yield shard(i, first, 0, 0)
        first += groups.row_group(i).num_rows
      return
    number = lines = start = end = 0
    first = 1
    for line in file:
      end += len(line)
      lines += 1
      if lines == options.shard_texts:
        yield shard(number, first, start, end)
        number, first, start, lines = number + 1, first + lines, end, 0
    if lines:
      yield shard(number, first, start, end)


def read(shard: Shard) -> Texts:
  """The texts of a shard; what cannot be read is a failure, and no more."""
  rows: list[Row] = []
  failures: list[Failure] = []
  for line, given in _given(shard):
    where = f"{shard.path}:{line}"
    try:
      if isinstance(given, dict):
        rows.append(row_of_record(given, where))
        continue
      text = decode(given, shard.path, line)
      text = text.removesuffix("\n").removesuffix("\r")
      if not shard.path.lower().endswith((".jsonl", ".json")):
        rows.append(Row(text, {}, len(text) + 1))
      elif text.strip():
        rows.append(json_row(text, where))
    except UserError as error:
      kept: object = given
      if isinstance(given, bytes):
        kept = given.decode("utf-8", "replace")
      failures.append(
        {
          "file": shard.path,
          "line": line,
          "reason": str(error),
          "record": kept,
        }
      )
  return Texts(shard, rows, failures)


def _given(shard: Shard) -> Iterator[tuple[int, bytes | Json]]:
  """Number and content of each line or row."""
  with FileSystems.open(shard.path, compression_type=AS_IT_IS) as file:
    if is_parquet(shard.path):
      parquet = needed("pyarrow.parquet", "beam", shard.path)
      table = parquet.ParquetFile(file).read_row_group(shard.number)
      for i, row in enumerate(table.to_pylist()):
        yield (
          shard.first + i,
          {key: value for key, value in row.items() if value is not None},
        )
      return
    file.seek(shard.start)
    data = file.read(shard.end - shard.start)
  yield from enumerate(io.BytesIO(data), start=shard.first)
