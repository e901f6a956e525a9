"""The original files of a corpus: found in a folder, or downloaded."""

import dataclasses
import hashlib
import http.client
import logging
import os
import pathlib
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from splitner_jax.runtime.cache import cache_dir
from splitner_jax.runtime.errors import UserError

log = logging.getLogger(__name__)

SPLIT_NAMES = ("train", "dev", "test")

_TIMEOUT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class SourceFile:
  """The name of an original file and, if known, its SHA-256 in hex."""

  name: str
  sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Source:
  """Where the files of a corpus come from.

  Attributes:
    corpus: name of the corpus.
    files: the file of each split.
    url: folder to download from; None if the files ship with the package or
      only their owner has them.
    sentences: sentences of each split as published, where the files are not
      known by their sums.
    types: number of entity types as published, likewise.
    instead: what the folder may hold instead of the files, in words.
  """

  corpus: str
  files: Mapping[str, SourceFile]
  url: str | None = None
  sentences: Mapping[str, int] = dataclasses.field(default_factory=dict)
  types: int | None = None
  instead: str | None = None

  @property
  def contents(self) -> str:
    """What the folder holds, in words."""
    names = ", ".join(file.name for file in self.files.values())
    return names if self.instead is None else f"{names}, or {self.instead}"


class Files(NamedTuple):
  """The original files at hand: of each split, their names below a folder."""

  folder: pathlib.Path
  names: Mapping[str, Sequence[str]]

  @property
  def content_name(self) -> str:
    """16 hex digits that change with a byte or the name of one of the files."""
    digest = hashlib.sha256()
    for split, names in self.names.items():
      for name in names:
        content = _sha256(self.folder / name)
        digest.update(f"{split}\0{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def locate(
  source: Source, folder: str | None, split_names: Iterable[str]
) -> Files:
  """Finds the original files; downloads them if no folder is given.

  Raises:
    UserError: a file is not in the folder, or cannot be downloaded.
  """
  files = {split: source.files[split] for split in split_names}
  if folder is None and source.url is not None:
    root = cache_dir() / "downloads" / source.corpus
    for file in files.values():
      _download(source, root, file)
  else:
    root = own_folder(source, folder)
    for file in files.values():
      _find(source, root, file)
  return Files(root, {split: [file.name] for split, file in files.items()})


def own_folder(source: Source, folder: str | None) -> pathlib.Path:
  """The folder `config.data.dir`, or that of the files that ship with us.

  Raises:
    UserError: the corpus needs a folder, and none is given.
  """
  if folder is not None:
    return pathlib.Path(folder).expanduser()
  shipped = pathlib.Path(__file__).parent / source.corpus
  if not shipped.is_dir():
    raise UserError(
      f"config.data.dir: {source.corpus} cannot be downloaded; set it to the "
      f"folder that holds your copy: {source.contents}"
    )
  return shipped


def _find(source: Source, root: pathlib.Path, file: SourceFile) -> None:
  path = root / file.name
  if not path.is_file():
    raise UserError(
      f"{path}: no such file; config.data.dir must name the folder that "
      f"holds the files of {source.corpus}: {source.contents}"
    )
  if file.sha256 is not None and (found := _sha256(path)) != file.sha256:
    log.warning(
      "%s is not the original %s file (SHA-256 %s, original %s): "
      "scores may not compare with published ones",
      path,
      source.corpus,
      found,
      file.sha256,
    )


def _download(source: Source, root: pathlib.Path, file: SourceFile) -> None:
  path = root / file.name
  if path.is_file() and _sha256(path) == file.sha256:
    return
  url = f"{source.url}/{file.name}"
  instead = (
    f"fetch {source.contents} by hand from {source.url} into one folder "
    "and set config.data.dir to it"
  )
  log.info("downloading %s", url)
  try:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
      content = response.read()
  except (OSError, http.client.HTTPException) as error:
    raise UserError(f"cannot download {url} ({error}); {instead}") from error
  found = hashlib.sha256(content).hexdigest()
  if found != file.sha256:
    raise UserError(
      f"{url}: SHA-256 is {found}, expected {file.sha256}; try again, or "
      f"{instead}"
    )
  _write_atomically(path, content)


def _write_atomically(path: pathlib.Path, content: bytes) -> None:
  """A killed or concurrent run never leaves a part of the file at `path`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
    part.write(content)
  os.replace(part.name, path)


def _sha256(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
