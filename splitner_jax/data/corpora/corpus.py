"""A corpus: train, dev and test sentences with their mentions."""

import dataclasses
import functools
import hashlib
import json
import zlib

from splitner_jax.data.corpora.sources import SPLIT_NAMES
from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Corpus:
  """The sentences of a corpus; a split that is not wanted is empty."""

  name: str
  train: list[Sentence]
  dev: list[Sentence]
  test: list[Sentence]

  @property
  def types(self) -> list[str]:
    """The entity types of train, sorted."""
    return sorted({span.label for row in self.train for span in row.spans})

  @functools.cached_property
  def content_hash(self) -> str:
    """First 16 hex digits of the SHA-256 of all words and spans, in order."""
    digest = hashlib.sha256()
    for split in SPLIT_NAMES:
      for row in getattr(self, split):
        digest.update(json.dumps([split, row.words, row.spans]).encode())
    return digest.hexdigest()[:16]

  @property
  def pos_checksum(self) -> int:
    """CRC-32 of all parts of speech, in order."""
    rows = [row.pos for split in SPLIT_NAMES for row in getattr(self, split)]
    return zlib.crc32(json.dumps(rows).encode())

  def limited(self, count: int) -> "Corpus":
    """The corpus with so many training sentences, every type among them.

    Which ones stay is decided by their text alone.

    Raises:
      UserError: there are fewer, or more types than that.
    """
    if not len(self.types) <= count <= len(self.train):
      raise UserError(
        f"config.data.limit: {count} of {len(self.train)} training sentences "
        f"with {len(self.types)} types; give a number between these two"
      )
    ranked = sorted(
      range(len(self.train)),
      key=lambda i: hashlib.sha256(self.train[i].text.encode()).digest(),
    )
    first: dict[str, int] = {}
    for i in ranked:
      for span in self.train[i].spans:
        first.setdefault(span.label, i)
    kept = list(dict.fromkeys([*first.values(), *ranked]))[:count]
    train = [self.train[i] for i in sorted(kept)]
    return dataclasses.replace(self, train=train)

  def describe(self) -> str:
    """One line for the log: sizes of the splits and the content hash."""
    sizes = []
    for split in SPLIT_NAMES:
      rows: list[Sentence] = getattr(self, split)
      mentions = sum(len(row.spans) for row in rows)
      sizes.append(f"{split} {len(rows)} sentences, {mentions} mentions")
    return f"{self.name}: {'; '.join(sizes)}; content {self.content_hash}"

  def check_types(self) -> None:
    """Raises UserError if dev or test has a type that train lacks."""
    types = set(self.types)
    for split in ("dev", "test"):
      for row in getattr(self, split):
        for span in row.spans:
          if span.label not in types:
            raise UserError(
              f"{row.source}: type {span.label!r} of split {split} never "
              "occurs in train; correct the tag, or add such mentions to train"
            )
