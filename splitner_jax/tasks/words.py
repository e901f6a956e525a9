"""Whole sentences, put together from their windows."""

from collections.abc import Iterator, Sequence

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.windows import stitch


def word_logits(
  examples: Examples, logits: np.ndarray, sentences: Sequence[Sentence]
) -> Iterator[tuple[int, int, np.ndarray]]:
  """The logits of each sentence's words, for each question about it.

  Args:
    examples: of `TokenTask.encode`; the windows of a sentence in order,
      question by question.
    logits: float[M, C] of their targets.
    sentences: that were encoded.

  Yields:
    Index of the sentence, index of the question, and float[words, C].
  """
  # An example for each question, unless a sentence has several windows.
  parts: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
  seen: dict[int, int] = {}
  for index, (i, first) in enumerate(
    zip(examples.sentences.tolist(), examples.first_words.tolist(), strict=True)
  ):
    if not first:
      seen[i] = seen.get(i, -1) + 1
    part = first, logits[examples.target_slice(index)]
    parts.setdefault((i, seen[i]), []).append(part)
  for (i, q), pieces in parts.items():
    yield i, q, stitch(pieces, len(sentences[i].words))
