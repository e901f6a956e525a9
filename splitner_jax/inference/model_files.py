"""The files of a model's folder, and whether they are as they were saved."""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from splitner_jax.pretrained.folders import TOKENIZER_FILES
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import checksum

_CONFIG = "config.json"


def checksums(folder: pathlib.Path) -> dict[str, int]:
  """Of all weights and tokenizers in a folder, by their paths within it."""
  return {
    path.relative_to(folder).as_posix(): checksum(path)
    for path in sorted(folder.rglob("*"))
    if path.name.endswith(".safetensors") or path.name in TOKENIZER_FILES
  }


def tokenizer_files(tasks: Iterable[str]) -> list[str]:
  """What tokenizers of these tasks would read, by their paths in a folder.

  Whatever of these one finds beside its own may change it.
  """
  return [
    *TOKENIZER_FILES,
    *(f"{t}/{name}" for t in tasks for name in (*TOKENIZER_FILES, _CONFIG)),
  ]


@contextlib.contextmanager
def checking(
  folder: pathlib.Path,
  tasks: Iterable[str],
  checksums: Mapping[str, int],
  *,
  weights: bool = True,
) -> Iterator[None]:
  """Checks the files: small ones before the block, weights beside it.

  What is wrong with a file is said rather than what came of it.

  Args:
    folder: of the model.
    tasks: their names, which are those of its folders of tokenizers.
    checksums: as `checksums` made them; none in older folders, whose files
      are not checked.
    weights: whether they are checked too.

  Raises:
    UserError: a file is not as it was saved, or was not saved with the model
      but would be read.
  """
  large = {
    name: each
    for name, each in checksums.items()
    if name.endswith(".safetensors")
  }
  small = {n: c for n, c in checksums.items() if n not in large}
  _check_files(folder, small)
  if checksums:
    _check_strays(folder, tasks, checksums)
  with ThreadPoolExecutor(1) as pool:
    checked = pool.submit(_check_files, folder, large if weights else {})
    try:
      yield
    finally:
      checked.result()


def _check_files(folder: pathlib.Path, checksums: Mapping[str, int]) -> None:
  for name, wanted in checksums.items():
    path = folder / name
    try:
      same = checksum(path) == wanted
    except FileNotFoundError:
      raise UserError(f"{path}: is missing; get the folder again") from None
    except OSError as e:
      raise UserError(
        f"{path}: cannot be read ({e.strerror}); get the folder again"
      ) from e
    if not same:
      raise UserError(
        f"{path}: is not as it was saved (another checksum than in "
        "config.json); get the folder again"
      )


def _check_strays(
  folder: pathlib.Path, tasks: Iterable[str], checksums: Mapping[str, int]
) -> None:
  """Raises UserError if there are more tokenizer files than were saved."""
  for name in tokenizer_files(tasks):
    if name not in checksums and os.path.lexists(folder / name):
      raise UserError(
        f"{folder / name}: is none of the files that were saved with the "
        "model; delete it"
      )
