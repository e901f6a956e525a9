"""Tagging of any number of files on an engine of Apache Beam.

Files are cut into shards of some thousand texts. A shard is read, tagged and
written by one worker, whole or not at all, so that a job that was ended goes on
with the shards that are missing. What is distributed, and how, is the
engine's. Needs pip install "splitner_jax[beam]".
"""

import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from splitner_jax.inference import checks, output_formats
from splitner_jax.inference.pipeline import Entity, SplitNER
from splitner_jax.integrations import bulk_folder
from splitner_jax.integrations.bulk_folder import FAILED
from splitner_jax.integrations.bulk_shards import (
  Options,
  Texts,
  read,
  shards,
)
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed
from splitner_jax.runtime.files import is_utf_8
from splitner_jax.runtime.types import Json


class Tagger(ModelHandler):
  """Runs our model in Beam's RunInference: one for each process.

  An example is the texts of a shard: they are many batches, each of as many
  words as the model computes at a time.
  """

  def __init__(self, options: Options):
    super().__init__(min_batch_size=1, max_batch_size=1)
    self._options = options

  def load_model(self) -> SplitNER:
    """Loads the model, once in each process."""
    return SplitNER.from_pretrained(
      self._options.model, batch_size=self._options.batch_size
    )

  def run_inference(
    self,
    batch: Sequence[Texts],
    model: SplitNER,
    inference_args: Json | None = None,
  ) -> Iterable[tuple[Texts, list[list[Entity]]]]:
    """Yields the texts of each shard with their entities."""
    del inference_args
    options = self._options
    for texts in batch:
      found = model.stream(
        (row.content for row in texts.rows),
        threshold=options.threshold,
        labels=options.labels,
      )
      yield texts, list(found)


class Write(beam.DoFn):
  """Writes shards; yields each that is there, and its failures beside."""

  def __init__(self, options: Options):
    self._options = options
    self._texts = Metrics.counter("splitner", "texts")
    self._failed = Metrics.counter("splitner", FAILED)

  def process(
    self, element: tuple[Texts, list[list[Entity]]]
  ) -> Iterator[object]:
    texts, entities = element
    target = texts.shard.target
    if texts.failures:
      lines = [_json_line(failure) for failure in texts.failures]
      path = bulk_folder.failures_of(target)
      bulk_folder.write_whole(path, "".join(lines).encode())
    records = [
      output_formats.record(row, found)
      for row, found in zip(texts.rows, entities, strict=True)
    ]
    if self._options.format == "jsonl":
      data = "".join(map(_json_line, records)).encode()
    else:
      data = _parquet(records)
    # The last: what is there is done.
    bulk_folder.write_whole(target, data)
    self._texts.inc(len(records))
    self._failed.inc(len(texts.failures))
    for failure in texts.failures:
      yield beam.pvalue.TaggedOutput(FAILED, failure)
    yield target


def _json_line(record: Json) -> str:
  shown = json.dumps(_finite(record), ensure_ascii=False, default=str)
  return shown + "\n"


def _finite(value: object) -> object:
  """The same with null for numbers of Parquet that JSON does not have."""
  if isinstance(value, float) and not math.isfinite(value):
    return None
  if isinstance(value, dict):
    return {key: _finite(inner) for key, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(inner) for inner in value]
  return value


def _parquet(records: Sequence[Json]) -> bytes:
  """Columns text or tokens, and entities; other fields as JSON in `record`."""
  arrow = needed("pyarrow", "beam", "--format=parquet")
  parquet = needed("pyarrow.parquet", "beam", "--format=parquet")
  number, words = arrow.int64(), arrow.list_(arrow.string())
  entity = arrow.struct(
    {
      "start": number,
      "end": number,
      "label": arrow.string(),
      "score": arrow.float64(),
      "text": arrow.string(),
    }
  )
  known = {
    "text": arrow.string(),
    "tokens": words,
    "entities": arrow.list_(entity),
  }
  rows = []
  for record in records:
    row = {k: record.get(k) for k in known}
    rest = {k: v for k, v in record.items() if k not in known}
    rows.append({**row, "record": _json_line(rest).strip() if rest else None})
  schema = arrow.schema({**known, "record": arrow.string()})
  buffer = io.BytesIO()
  parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer)
  return buffer.getvalue()


class Bulk(beam.PTransform):
  """Paths of files to shards that are written, and failures beside."""

  def __init__(self, output: str, options: Options):
    """See `run`."""
    super().__init__()
    self._output, self._options = output, options

  def expand(self, files: object) -> Any:
    """(path, name) of files to the outputs `written` and FAILED.

    The latter are records of the texts that could not be tagged.
    """
    output, options = self._output, self._options
    return (
      files
      | "cut" >> beam.FlatMapTuple(lambda p, n: shards(p, n, output, options))
      | "missing" >> beam.Filter(lambda x: not FileSystems.exists(x.target))
      | "spread" >> beam.Reshuffle()
      | "read" >> beam.Map(read)
      | "tag" >> RunInference(Tagger(options))
      | "write"
      >> beam.ParDo(Write(options)).with_outputs(FAILED, main="written")
    )


def run(
  pattern: str, output: str, options: Options, beam_options: Sequence[str] = ()
) -> tuple[int, int]:
  """Tags all files that match, as far as they are not tagged yet.

  Args:
    pattern: such as "texts/*.jsonl"; JSON Lines and Parquet are known by their
      names, all else is plain text, a text a line.
    output: folder, on a file system that all workers have.
    options: of the job.
    beam_options: of Beam, such as "--runner=FlinkRunner"; without a runner it
      is Beam's own in this process.

  Returns:
    How many texts were tagged now, and how many failed.

  Raises:
    UserError: nothing matches, the model cannot do it, the folder is of
      another job, a file has changed that it has shards of, or a name is not
      UTF-8.
  """
  from apache_beam.options.pipeline_options import PipelineOptions
  from apache_beam.runners.portability.fn_api_runner import FnApiRunner

  # On a disk Beam looks in the folder before the first wildcard; nowhere, where
  # there is none.
  here = "./" if re.match(r"[^/]*[*?\[]", pattern) else ""
  [match] = FileSystems.match([here + pattern])
  if not match.metadata_list:
    raise UserError(f"--input: nothing matches {pattern}; check the path")
  for name in (output, *(file.path for file in match.metadata_list)):
    if not is_utf_8(name):
      raise UserError(f"{name}: its name is not UTF-8; rename it")
  local = not any(x.startswith("--runner") for x in beam_options)
  checks.check_batch_size(options.batch_size)
  # Other machines may have models that this one has not.
  if local or os.path.isdir(options.model):
    checks.check_model(options.model, options.labels)
  bulk_folder.check_settings(output, options)
  names = bulk_folder.names(output, match.metadata_list)
  pipeline = beam.Pipeline(
    runner=FnApiRunner() if local else None,
    options=PipelineOptions(list(beam_options), save_main_session=False),
  )
  _ = pipeline | beam.Create(names) | Bulk(output, options)
  result = pipeline.run()
  result.wait_until_finish()
  counts = {
    counter.key.metric.name: counter.committed or counter.attempted or 0
    for counter in result.metrics().query()["counters"]
    if counter.key.metric.namespace == "splitner"
  }
  return counts.get("texts", 0), counts.get(FAILED, 0)
