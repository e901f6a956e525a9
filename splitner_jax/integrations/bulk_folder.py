"""The folder of a job of `bulk`, on whatever file system it is.

bulk.json                what the job does
bulk-inputs-00001.json   files that it reads: the name of each one's shards, its
                         size and its time; -00002 those that a later run added
NAME-00000.jsonl         shards, or .parquet
failed/NAME-00000.jsonl  what could not be read
"""

import dataclasses
import glob
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from splitner_jax.integrations.bulk_shards import AS_IT_IS, Options
from splitner_jax.runtime import json_text
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

SETTINGS = "bulk.json"
FAILED = "failed"
_INPUTS = "bulk-inputs-{:05}.json"


def check_settings(output: str, options: Options) -> None:
  """Writes what the job does; raises UserError if it was something else."""
  fields = dataclasses.asdict(options)
  fields["labels"] = options.labels and list(options.labels)
  text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
  path = FileSystems.join(output, SETTINGS)
  if FileSystems.exists(path):
    with FileSystems.open(path) as file:
      if file.read().decode() == text:
        return
    raise UserError(
      f"{output}: is of a job with other options ({SETTINGS}); give the same, "
      "or another folder"
    )
  write_whole(path, text.encode())


def names(output: str, files: Iterable[FileMetadata]) -> list[tuple[str, str]]:
  """The path of each file with the name of its shards, in any run the same.

  A shard that is there is not written again. So that it is of this file, and
  of what is in it now, files are written down before they are read.

  Args:
    output: folder of the job.
    files: all that this run is to read; there may be new ones.

  Raises:
    UserError: a file has changed since it was written down, or what is written
      down cannot be read.
  """
  written = list(_written(output))
  known: dict[str, Json] = {}
  for entries in written:
    known |= entries
  taken = {entry["name"] for entry in known.values()}
  named: list[tuple[str, str]] = []
  new: dict[str, Json] = {}
  for file in sorted(files, key=lambda file: file.path):
    folder, base = FileSystems.split(file.path)
    # The same from wherever a run is started.
    full = FileSystems.join(folder, base)
    name = known[full]["name"] if full in known else _free(base, taken)
    entry = {
      "name": name,
      "size": file.size_in_bytes,
      "modified": file.last_updated_in_seconds,
    }
    if full not in known:
      new[full] = entry
      taken.add(name)
    elif entry != known[full]:
      if _has_shards(output, name):
        raise UserError(
          f"{file.path}: has changed since {output} has shards of it (another "
          f"size or time); delete them, {name}-NUMBER, there and in {FAILED}, "
          "or give another folder"
        )
      new[full] = entry
    named.append((file.path, name))
  if new:
    text = json.dumps(new, indent=2, ensure_ascii=False) + "\n"
    # A file of its own: what is written down is never at risk.
    path = FileSystems.join(output, _INPUTS.format(len(written) + 1))
    write_whole(path, text.encode())
  return named


def _written(output: str) -> Iterator[dict[str, Json]]:
  """What each run has written down, by full paths; a later one is right."""
  for number in itertools.count(1):
    path = FileSystems.join(output, _INPUTS.format(number))
    if not FileSystems.exists(path):
      return
    with FileSystems.open(path, compression_type=AS_IT_IS) as file:
      text = file.read()
    try:
      yield {
        full: {key: entry[key] for key in ("name", "size", "modified")}
        for full, entry in json_text.parse(text).items()
      }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UserError(
        f"{path}: cannot be read ({error}); get it back, or give another folder"
      ) from None


def _free(base: str, taken: set[str]) -> str:
  """A name of shards that no other file has."""
  others = (f"{base}-{i}" for i in itertools.count(2))
  return next(x for x in itertools.chain([base], others) if x not in taken)


def _has_shards(output: str, name: str) -> bool:
  """Whether anything is left of what was written of a file."""
  folders = output, FileSystems.join(output, FAILED)
  found = FileSystems.match(
    [glob.escape(FileSystems.join(x, f"{name}-")) + "*" for x in folders]
  )
  # Another file's name may begin like this one and go on.
  shard = re.compile(re.escape(name) + r"-\d{5,}\.\w+")
  return any(
    shard.fullmatch(FileSystems.split(file.path)[1])
    for each in found
    for file in each.metadata_list
  )


def failures_of(target: str) -> str:
  """The file of a shard's failures, if it has any."""
  folder, name = FileSystems.split(target)
  stem = name.rpartition(".")[0]
  return FileSystems.join(folder, FAILED, f"{stem}.jsonl")


def write_whole(path: str, data: bytes) -> None:
  """Writes a file under another name first: it is whole or not there."""
  folder, name = FileSystems.split(path)
  # Of hidden names nobody reads a part.
  part = FileSystems.join(folder, f".{name}.{os.getpid()}.part")
  _make_folder(folder)
  with FileSystems.create(part, compression_type=AS_IT_IS) as file:
    file.write(data)
  if FileSystems.exists(path):
    FileSystems.delete([path])
  FileSystems.rename([part], [path])


def _make_folder(folder: str) -> None:
  try:
    FileSystems.mkdirs(folder)
  except OSError:  # It is there already.
    if not FileSystems.exists(folder):
      raise
