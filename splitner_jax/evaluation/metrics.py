"""Mention-level precision, recall and F1, in percent.

What is counted: a predicted mention is correct if its sentence has a gold
mention with the same first word, last word and type. Every sentence counts,
also one without predictions: its gold mentions are missed. Figures are micro
averages over all mentions, as in the paper (Split-NER, ACL 2023, tables 2, 4
and 6); detection leaves the types out, classification takes gold mentions.

The paper's own end-to-end figures come from code that leaves out sentences
without a predicted mention and keys sentences by their text, so that repeated
ones merge. `reference_protocol` counts like that, for comparison with those
figures only; no other function does.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Span
from splitner_jax.runtime.types import Json

_Spans = Iterable[Span | ScoredSpan]

# Weights of this many sentences are held at a time: 32 MB.
_BLOCK = 2**22


class Counts(NamedTuple):
  """Numbers of mentions, and what follows from them, in percent.

  A measure is 0.0 where nothing is there to divide by.
  """

  gold: int
  predicted: int
  correct: int

  @property
  def precision(self) -> float:
    return 100.0 * self.correct / self.predicted if self.predicted else 0.0

  @property
  def recall(self) -> float:
    return 100.0 * self.correct / self.gold if self.gold else 0.0

  @property
  def f1(self) -> float:
    both = self.gold + self.predicted
    return 200.0 * self.correct / both if both else 0.0


def score(gold: Sequence[_Spans], predicted: Sequence[_Spans]) -> Json:
  """Strict scores over all sentences and types, and of each type.

  A mention that is predicted twice counts once.

  Args:
    gold: the gold mentions of each sentence.
    predicted: the predicted mentions of the same sentences.

  Returns:
    `precision`, `recall` and `f1` in percent, 0.0 where nothing is there to
    divide by; the counts `gold`, `predicted` and `correct`; `per_type`, the
    same six for each type of either side, sorted by type.
  """
  gold_types: Counter[str] = Counter()
  predicted_types: Counter[str] = Counter()
  correct_types: Counter[str] = Counter()
  for gold_spans, predicted_spans in zip(gold, predicted, strict=True):
    wanted, found = _distinct(gold_spans), _distinct(predicted_spans)
    gold_types.update(label for _, _, label in wanted)
    predicted_types.update(label for _, _, label in found)
    correct_types.update(label for _, _, label in wanted & found)
  return _summary(gold_types, predicted_types, correct_types)


def score_detection(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> Json:
  """Like `score`, whatever the types are; without `per_type`."""
  result = score(_untyped(gold), _untyped(predicted))
  del result["per_type"]
  return result


def recall_per_type(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> dict[str, Json]:
  """How many mentions of each gold type were detected, whatever was said.

  Returns:
    `recall` in percent and the counts `gold` and `correct` of each type,
    sorted by type.
  """
  wanted: Counter[str] = Counter()
  correct: Counter[str] = Counter()
  for gold_spans, predicted_spans in zip(gold, predicted, strict=True):
    found = {(start, end) for start, end, *_ in predicted_spans}
    for start, end, label, *_ in gold_spans:
      wanted[label] += 1
      correct[label] += (start, end) in found
  return {
    label: {
      "recall": 100.0 * correct[label] / wanted[label],
      "gold": wanted[label],
      "correct": correct[label],
    }
    for label in sorted(wanted)
  }


def score_labels(
  gold_labels: Sequence[str], predicted_labels: Sequence[str | None]
) -> Json:
  """Like `score`, for the types given to spans, one by one.

  A prediction of None or "" says that there is no mention: nothing is
  predicted, and a gold mention is missed. A gold label of "" is of a span that
  is none: a type that is predicted for it is wrong.
  """
  pairs = list(zip(gold_labels, predicted_labels, strict=True))
  return _summary(
    Counter(wanted for wanted, _ in pairs if wanted),
    Counter(found for _, found in pairs if found),
    Counter(wanted for wanted, found in pairs if wanted and wanted == found),
  )


def reference_protocol(
  texts: Sequence[str],
  gold: Sequence[_Spans],
  predicted: Sequence[_Spans | None],
  *,
  merge_repeats: bool,
) -> Json:
  """Scores as the reference implementation counts: for comparison only.

  Args:
    texts: the text of each sentence.
    gold: the gold mentions of each sentence.
    predicted: the predicted mentions of each sentence; None of one that the
      reference does not score.
    merge_repeats: of sentences with equal text only the first is scored.

  Returns:
    What `score` returns, and `sentences`, how many were scored.
  """
  kept_gold, kept_predicted = [], []
  seen: set[str] = set()
  for text, wanted, found in zip(texts, gold, predicted, strict=True):
    repeated = text in seen
    seen.add(text)
    if (merge_repeats and repeated) or found is None:
      continue
    kept_gold.append(wanted)
    kept_predicted.append(found)
  return {**score(kept_gold, kept_predicted), "sentences": len(kept_gold)}


def counts_per_sentence(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> np.ndarray:
  """What `score` counts, of each sentence.

  Args:
    gold: the gold mentions of each sentence.
    predicted: the predicted mentions of the same sentences.

  Returns:
    int64[3, N]; the rows are gold, predicted and correct mentions.
  """
  counts = []
  for gold_spans, predicted_spans in zip(gold, predicted, strict=True):
    wanted, found = _distinct(gold_spans), _distinct(predicted_spans)
    counts.append((len(wanted), len(found), len(wanted & found)))
  return np.array(counts, np.int64).reshape(-1, 3).T


def bootstrap_interval(
  counts: np.ndarray, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
  """Where 95 % of the F1 lie if sentences are drawn with replacement.

  Args:
    counts: int[3, N] of `counts_per_sentence`.
    samples: how often N sentences are drawn.
    seed: decides the draws.

  Returns:
    The 2.5th and 97.5th percentile of micro F1, in percent.
  """
  return _interval(_resampled_f1(counts[None], samples, seed)[0])


def paired_bootstrap(
  a: np.ndarray, b: np.ndarray, samples: int = 10_000, seed: int = 0
) -> Json:
  """Whether the F1 of two systems differ by more than the draw of sentences.

  Each sample draws the same sentences for both systems.

  Args:
    a: int[3, N] of `counts_per_sentence`; or sums of several runs.
    b: the same of the other system.
    samples: how often N sentences are drawn.
    seed: decides the draws.

  Returns:
    `f1_a`, `f1_b` and `difference`, b - a, in percent; `interval`, in which
    95 % of the samples' differences lie; `p_value`, two-sided: twice the share
    of samples whose difference is zero or has the other sign, at most 1. No
    p value below 1/samples can be told, and none is given.
  """
  if a.shape != b.shape:
    raise ValueError(f"counts of other sentences: {a.shape} and {b.shape}")
  f1_a, f1_b = float(_f1(a.sum(axis=1))), float(_f1(b.sum(axis=1)))
  sampled_a, sampled_b = _resampled_f1(np.stack([a, b]), samples, seed)
  differences = sampled_b - sampled_a
  against = np.mean(differences * np.sign(f1_b - f1_a) <= 0)
  return {
    "f1_a": f1_a,
    "f1_b": f1_b,
    "difference": f1_b - f1_a,
    "interval": _interval(differences),
    "p_value": min(1.0, max(2 * float(against), 1 / samples)),
  }


def _resampled_f1(counts: np.ndarray, samples: int, seed: int) -> np.ndarray:
  """float64[S, samples]: F1 of S systems, counts int[S, 3, N], on each draw."""
  systems, _, sentences = counts.shape
  if not sentences:
    return np.zeros((systems, samples))
  # Sentences with the same counts are alike: drawing N sentences is drawing
  # how many there are of each of the few distinct columns.
  distinct, repeats = np.unique(
    counts.reshape(3 * systems, sentences), axis=1, return_counts=True
  )
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // len(repeats))
  sums = []
  for start in range(0, samples, block):
    size = min(block, samples - start)
    weights = rng.multinomial(sentences, repeats / sentences, size)
    # Exact, and much faster than in integers.
    sums.append(distinct.astype(np.float64) @ weights.T.astype(np.float64))
  drawn = np.concatenate(sums, axis=1).reshape(systems, 3, samples)
  return _f1(drawn.swapaxes(0, 1))


def _f1(counts: np.ndarray) -> np.ndarray:
  """Percent, float64[...], of gold, predicted, correct: [3, ...]."""
  gold, predicted, correct = counts.astype(np.float64)
  # Where nothing is there, nothing is correct either.
  return 200.0 * correct / np.maximum(gold + predicted, 1.0)


def _interval(values: np.ndarray) -> tuple[float, float]:
  low, high = np.percentile(values, [2.5, 97.5])
  return float(low), float(high)


def _distinct(spans: _Spans) -> set[tuple[int, int, str]]:
  return {(start, end, label) for start, end, label, *_ in spans}


def _untyped(sentences: Sequence[_Spans]) -> list[list[Span]]:
  return [
    [Span(start, end, "") for start, end, *_ in spans] for spans in sentences
  ]


def _summary(
  gold: Counter[str], predicted: Counter[str], correct: Counter[str]
) -> Json:
  result = figures(Counts(gold.total(), predicted.total(), correct.total()))
  result["per_type"] = {
    label: figures(Counts(gold[label], predicted[label], correct[label]))
    for label in sorted(gold.keys() | predicted.keys())
  }
  return result


def figures(counts: Counts) -> Json:
  """The measures and the counts, by name."""
  measures = ("precision", "recall", "f1")
  return {m: getattr(counts, m) for m in measures} | counts._asdict()
