"""A corpus of one's own files; TFDS has no part in it."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable

from splitner_jax.data import formats
from splitner_jax.data.corpora.corpus import Corpus
from splitner_jax.data.corpora.sources import SPLIT_NAMES
from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.errors import UserError


def from_files(
  train: str | None,
  dev: str | None,
  test: str | None,
  *,
  dev_fraction: float = 0.0,
  seed: int = 0,
  tag_column: int = -1,
  word_column: int = 0,
  pos_column: int | None = None,
) -> Corpus:
  """Reads one's own files, each in any format of `formats.read`.

  Args:
    train: the file to train on.
    dev: the file that chooses the best epoch.
    test: the file to score on; None leaves the split empty.
    dev_fraction: without a dev file, dev takes this share of the sentences of
      train, at most 0.5, and at least one with a mention. Sentences of equal
      text stay on one side, and every type stays in train.
    seed: with a sentence's text alone, decides what dev takes.
    tag_column: where the tag is in files of columns; negative numbers count
      from the last column.
    word_column: where the word is in files of columns.
    pos_column: where the part of speech is in files of columns, if wanted.

  Raises:
    UserError: files or fields are missing, contradict each other or are not
      well-formed, train or dev has no mention, or train lacks a type of dev or
      test.
  """
  if not train:
    raise UserError("config.data.train: not set; name the file to train on")
  if dev and dev_fraction:
    raise UserError(
      "config.data.dev_fraction: config.data.dev names a file already; "
      "set one of the two"
    )
  if not dev and not dev_fraction:
    raise UserError(
      "config.data.dev: not set; name a file with --dev=FILE, or set "
      "--config.data.dev_fraction to the share of train to use, such as 0.1"
    )
  if not dev and not 0 < dev_fraction <= 0.5:
    raise UserError(
      f"config.data.dev_fraction: {dev_fraction} is not above 0 and at most "
      "0.5; 0.1 is usual"
    )
  paths = {
    split: os.path.expanduser(path)
    for split, path in zip(SPLIT_NAMES, (train, dev, test), strict=True)
    if path
  }
  _check_distinct(paths)
  splits: dict[str, list[Sentence]] = {split: [] for split in SPLIT_NAMES}
  for split, path in paths.items():
    splits[split] = formats.read(
      path,
      tag_column=tag_column,
      word_column=word_column,
      pos_column=pos_column,
    )
  needed = {
    "train": "nothing to learn from",
    "dev": "nothing to choose the best epoch by",
  }
  for split, use in needed.items():
    if split in paths and not _mentions(splits[split]):
      raise UserError(
        f"{paths[split]}: no mention in it, {use}; check that it is annotated, "
        "and its tag column"
      )
  if not dev:
    splits["train"], splits["dev"] = _carve(
      splits["train"], dev_fraction, seed, paths["train"]
    )
  corpus = Corpus("files", **splits)
  corpus.check_types()
  return corpus


def _check_distinct(paths: dict[str, str]) -> None:
  """Raises UserError if two splits are one file, whatever its path."""
  seen: dict[str, str] = {}
  for split, path in paths.items():
    other = seen.setdefault(os.path.realpath(path), split)
    if other != split:
      raise UserError(
        f"config.data.{split}: {path} is also config.data.{other}; "
        "each split needs a file of its own"
      )


def _carve(
  rows: list[Sentence], fraction: float, seed: int, path: str
) -> tuple[list[Sentence], list[Sentence]]:
  """Splits train into train and dev, both in the order of the file."""

  def place(text: str) -> bytes:
    # Not a shuffle: another order of the file changes nothing, and a sentence
    # that is added to it moves few others.
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()

  groups: dict[str, list[Sentence]] = {}
  for row in rows:
    groups.setdefault(row.text, []).append(row)
  mentions = {text: _mentions(group) for text, group in groups.items()}
  wanted = max(1, round(fraction * len(rows)))

  def may_leave(text: str, left: Counter[str], room: int) -> bool:
    stays = all(left[label] > n for label, n in mentions[text].items())
    return len(groups[text]) <= room and stays

  def taken(order: Iterable[str]) -> set[str]:
    left, room, texts = _mentions(rows), wanted, set[str]()
    for text in order:
      if may_leave(text, left, room):
        texts.add(text)
        room -= len(groups[text])
        left -= mentions[text]
    return texts

  order = sorted(groups, key=place)
  texts = taken(order)
  if not any(mentions[text] for text in texts):
    # None of the few that came first; then one of those that have some does.
    total = _mentions(rows)
    able = [t for t in order if mentions[t] and may_leave(t, total, wanted)]
    if not able:
      raise UserError(
        f"{path}: no sentence with a mention can leave it for dev, as each "
        "type must stay in train; add sentences, or name a file in "
        "config.data.dev"
      )
    texts = taken(dict.fromkeys([able[0], *order]))
  return (
    [row for row in rows if row.text not in texts],
    [row for row in rows if row.text in texts],
  )


def _mentions(rows: Iterable[Sentence]) -> Counter[str]:
  """Number of mentions of each type."""
  return Counter(span.label for row in rows for span in row.spans)
