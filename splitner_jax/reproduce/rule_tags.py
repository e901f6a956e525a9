"""A corpus with a column of parts of speech, for the feature pos:

python -m splitner_jax.reproduce.rule_tags NAME DATA FOLDER

writes FOLDER/train.tsv, dev.tsv and test.tsv: word, part of speech, tag. The
column is made up by rules on the word alone, for the corpora come without one:
it says what word classes by list and ending bring, not what a tagger would.
"""

import pathlib
import sys

from splitner_jax.data import corpora
from splitner_jax.data.corpora.sources import SPLIT_NAMES
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.tags import spans_to_tags

_CLOSED = {
  "DT": "a an the this that these those some any no each every all both",
  "IN": "in on at of for with from by about as into over after before between "
  "through during against among under while because if than that whether",
  "CC": "and or but nor yet",
  "PRP": "i you he she it we they me him her us them my your his its our their "
  "im u ur who what which",
  "MD": "can could may might must shall should will would",
  "TO": "to",
  "VB": "be is are was were been am being do does did have has had get got go "
  "going went make made see say said know think want need like love",
  "RB": "not n't never now then here there also very just so too only more "
  "most how when where why again still",
  "UH": "rt lol haha oh ok yes no hey wow thanks please",
}
_OF_WORD = {w: tag for tag, words in _CLOSED.items() for w in words.split()}
_OF_ENDING = {
  "ly": "RB",
  "ing": "VBG",
  "ed": "VBD",
  "ous": "JJ",
  "ive": "JJ",
  "able": "JJ",
  "ic": "JJ",
  "al": "JJ",
  "ary": "JJ",
  "s": "NNS",
}


def part_of_speech(word: str) -> str:
  """One of about 20, by the word alone.

  >>> [part_of_speech(w) for w in ("The", "cells", "saw", "Oslo", "@ada", "7")]
  ['DT', 'NNS', 'NN', 'NNP', 'USR', 'CD']
  """
  small = word.lower()
  if small.startswith(("@", "#", "http", "www.")):
    return {"@": "USR", "#": "HT"}.get(word[0], "URL")
  if not any(c.isalnum() for c in word):
    return "."
  if any(c.isdigit() for c in word):
    return "NNX" if any(c.isalpha() for c in word) else "CD"
  if small in _OF_WORD:
    return _OF_WORD[small]
  if word[0].isupper():
    return "NNP"
  for ending, tag in _OF_ENDING.items():
    if small.endswith(ending) and len(word) > len(ending) + 2:
      return tag
  return "NN"


def columns(sentence: Sentence) -> str:
  """The lines of a sentence, a blank one behind."""
  tags = spans_to_tags(sentence.spans, len(sentence.words))
  lines = [
    f"{word}\t{part_of_speech(word)}\t{tag}"
    for word, tag in zip(sentence.words, tags, strict=True)
  ]
  return "\n".join([*lines, "", ""])


def write(name: str, data: str | None, folder: str) -> None:
  """Writes the files of a corpus, see above."""
  corpus = corpora.load(name, data)
  place = pathlib.Path(folder)
  place.mkdir(parents=True, exist_ok=True)
  for split in SPLIT_NAMES:
    rows = getattr(corpus, split)
    (place / f"{split}.tsv").write_text("".join(map(columns, rows)), "utf-8")


if __name__ == "__main__":
  write(*sys.argv[1:])
