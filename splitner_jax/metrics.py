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
from typing import Any

from splitner_jax.data.sentences import ScoredSpan, Span

_Spans = Iterable[Span | ScoredSpan]


def score(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> dict[str, Any]:
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
    wanted = {(start, end, label) for start, end, label, *_ in gold_spans}
    found = {(start, end, label) for start, end, label, *_ in predicted_spans}
    gold_types.update(label for _, _, label in wanted)
    predicted_types.update(label for _, _, label in found)
    correct_types.update(label for _, _, label in wanted & found)
  return _summary(gold_types, predicted_types, correct_types)


def score_detection(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> dict[str, Any]:
  """Like `score`, whatever the types are; without `per_type`."""
  result = score(_untyped(gold), _untyped(predicted))
  del result["per_type"]
  return result


def recall_per_type(
  gold: Sequence[_Spans], predicted: Sequence[_Spans]
) -> dict[str, dict[str, Any]]:
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
) -> dict[str, Any]:
  """Like `score`, for the types given to the gold mentions, one by one.

  A prediction of None or "" says that there is no mention: the gold mention
  is missed, and nothing is predicted.
  """
  pairs = list(zip(gold_labels, predicted_labels, strict=True))
  return _summary(
    Counter(wanted for wanted, _ in pairs),
    Counter(found for _, found in pairs if found),
    Counter(wanted for wanted, found in pairs if wanted == found),
  )


def reference_protocol(
  texts: Sequence[str],
  gold: Sequence[_Spans],
  predicted: Sequence[_Spans],
  *,
  merge_repeats: bool,
  keep_empty: bool,
) -> dict[str, Any]:
  """Scores as the reference implementation counts: for comparison only.

  Args:
    texts: the text of each sentence.
    gold: the gold mentions of each sentence.
    predicted: the predicted mentions of each sentence.
    merge_repeats: of sentences with equal text only the first is scored.
    keep_empty: whether sentences without a predicted mention are scored.

  Returns:
    What `score` returns, and `sentences`, how many were scored.
  """
  kept_gold, kept_predicted = [], []
  seen: set[str] = set()
  for text, wanted, found in zip(texts, gold, predicted, strict=True):
    repeated = text in seen
    seen.add(text)
    found = list(found)
    if (merge_repeats and repeated) or not (keep_empty or found):
      continue
    kept_gold.append(wanted)
    kept_predicted.append(found)
  return {**score(kept_gold, kept_predicted), "sentences": len(kept_gold)}


def _untyped(sentences: Sequence[_Spans]) -> list[list[Span]]:
  return [
    [Span(start, end, "") for start, end, *_ in spans] for spans in sentences
  ]


def _summary(
  gold: Counter[str], predicted: Counter[str], correct: Counter[str]
) -> dict[str, Any]:
  result = _figures(gold.total(), predicted.total(), correct.total())
  result["per_type"] = {
    label: _figures(gold[label], predicted[label], correct[label])
    for label in sorted(gold.keys() | predicted.keys())
  }
  return result


def _figures(gold: int, predicted: int, correct: int) -> dict[str, Any]:
  return {
    "precision": 100.0 * correct / predicted if predicted else 0.0,
    "recall": 100.0 * correct / gold if gold else 0.0,
    "f1": 200.0 * correct / (gold + predicted) if correct else 0.0,
    "gold": gold,
    "predicted": predicted,
    "correct": correct,
  }
