"""What a model finds in text that nobody has split into words.

All other scores start from the words of the corpus. Users have text: what its
splitting into sentences and words costs belongs into the scores too.
"""

from collections.abc import Sequence

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation import metrics
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime.types import Json


def score(ner: SplitNER, sentences: Sequence[Sentence]) -> Json:
  """Scores of sentences that are given as text, their words with blanks.

  A mention is found if its first and last character and its type are right.

  Returns:
    As `metrics.score`; and `lost_to_splitting`, the gold mentions that no
    prediction can be: one of their ends is inside of a word, or they are in
    several sentences, as the text is split.
  """
  gold = [_in_characters(sentence) for sentence in sentences]
  texts = [sentence.text for sentence in sentences]
  lost = 0
  for text, spans in zip(texts, gold, strict=True):
    blocks = [
      ({word.start for word in words}, {word.end for word in words})
      for words in ner.sentences(text)
    ]
    lost += sum(
      not any(s.start in starts and s.end in ends for starts, ends in blocks)
      for s in spans
    )
  found = [
    [Span(e.start, e.end, e.label) for e in entities]
    for entities in ner.predict(texts)
  ]
  return {**metrics.score(gold, found), "lost_to_splitting": lost}


def _in_characters(sentence: Sentence) -> list[Span]:
  """The gold mentions of a sentence, in characters of its text."""
  starts, at = [], 0
  for word in sentence.words:
    starts.append(at)
    at += len(word) + 1
  return [
    Span(
      starts[s.start],
      starts[s.end - 1] + len(sentence.words[s.end - 1]),
      s.label,
    )
    for s in sentence.spans
  ]
