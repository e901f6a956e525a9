"""Parquet files <-> sentences; needs pip install "splitner_jax[parquet]"."""

import io
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from splitner_jax.data import jsonl, tagged_rows, tags
from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.json_text import parse

_COLUMNS = ("tokens", "ner_tags", "text", "entities", "predicted", "pos")
_METADATA = b"huggingface"
"""Where the library datasets keeps the features of a file."""


def is_name(path: str | os.PathLike[str]) -> bool:
  """Whether a file of this name is Parquet."""
  return pathlib.Path(path).suffix.lower() == ".parquet"


def read(
  path: str | os.PathLike[str], *, predicted: bool = False
) -> list[Sentence]:
  """The sentences of a file whose rows are as lines of JSON Lines.

  Numbers in `ner_tags` have the names that the library datasets has put into
  the file (its feature ClassLabel).

  Args:
    path: of the file.
    predicted: as of `jsonl.read`.

  Raises:
    UserError: it cannot be read, or a row is not as `jsonl.read` says.
  """
  rows, info = _rows(path)
  return jsonl.sentences(
    rows,
    path,
    lambda: tagged_rows.names_of(info, str(path)),
    predicted=predicted,
  )


def objects(path: str | os.PathLike[str]) -> jsonl.Rows:
  """The rows of a file, as of `jsonl.objects`; their known columns only.

  Raises:
    UserError: it cannot be read.
  """
  return _rows(path)[0]


def _rows(path: str | os.PathLike[str]) -> tuple[jsonl.Rows, Any]:
  """The rows of a file, and what it says of their columns."""
  pyarrow_parquet = needed("pyarrow.parquet", "parquet", str(path))
  try:
    file = pyarrow_parquet.ParquetFile(path)
    schema = file.schema_arrow
    columns = [name for name in schema.names if name in _COLUMNS]
    metadata = schema.metadata or {}
    known = parse(metadata.get(_METADATA, b"{}"))
    table = file.read(columns)
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; check the path") from None
  except Exception as error:  # Its own errors are of several kinds.
    reason = " ".join(str(error).split())[:160]
    raise UserError(
      f"{path}: cannot be read as Parquet ({reason}); write it again"
    ) from error
  if not {"tokens", "text"} & set(columns):
    raise UserError(
      f"{path}: has neither a column 'tokens' nor 'text', but "
      f"{', '.join(schema.names)}; name them so"
    )
  # What is null is not there.
  there = (
    {key: value for key, value in row.items() if value is not None}
    for batch in table.to_batches(1_000)
    for row in batch.to_pylist()
  )
  info = known.get("info") if isinstance(known, dict) else None
  return ((f"{path}: row {n}", row) for n, row in enumerate(there, 1)), info


def write(path: str | os.PathLike[str], sentences: Sequence[Sentence]) -> None:
  """Writes `tokens` and `ner_tags`, numbers with the names of a ClassLabel.

  Raises:
    UserError: the file cannot be written.
  """
  arrow = needed("pyarrow", "parquet", str(path))
  pyarrow_parquet = needed("pyarrow.parquet", "parquet", str(path))
  labels = sorted({span.label for s in sentences for span in s.spans})
  names = ["O", *(f"{p}-{x}" for x in labels for p in "BI")]
  numbers = {name: i for i, name in enumerate(names)}
  table = arrow.table(
    {
      "tokens": arrow.array(
        [list(s.words) for s in sentences], arrow.list_(arrow.string())
      ),
      "ner_tags": arrow.array(
        [
          [numbers[t] for t in tags.spans_to_tags(s.spans, len(s.words))]
          for s in sentences
        ],
        arrow.list_(arrow.int64()),
      ),
    }
  )
  value = {"dtype": "string", "_type": "Value"}
  label = {"names": names, "_type": "ClassLabel"}
  features = {
    "tokens": {"feature": value, "_type": "List"},
    "ner_tags": {"feature": label, "_type": "List"},
  }
  described = {"info": {"features": features}}
  table = table.replace_schema_metadata({_METADATA: json.dumps(described)})
  buffer = io.BytesIO()
  pyarrow_parquet.write_table(table, buffer)
  atomic_write(path, [buffer.getvalue()])
