"""What a system gets wrong: kinds of errors, recall, confused types.

Each gold and each predicted mention is in exactly one category. They are
matched one to one, the closest first: equal ones, then those with the same
words, then by the number of shared words, of the same type before others.

A mention is seen if its text, whatever its case, is a mention of the training
data too, of any type; otherwise unseen.
"""

import itertools
import os
import pathlib
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import pictures, tables
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json

CATEGORIES = {
  "correct": "same words, same type",
  "wrong_type": "same words, other type",
  "wrong_boundary": "other words that overlap, same type",
  "wrong_both": "other words that overlap, other type",
  "missed": "gold without a prediction",
  "false": "prediction without gold",
}
"""What each category means, in the order of the report."""

NONE = "(none)"
"""The other side of a mention that has no partner with the same words."""

_SEEN = ("seen", "unseen")
_ALL = ("all",)
_LENGTHS = ("1", "2", "3", "4+")
_EXAMPLES = 10
_CONTEXT = 8  # words on each side of an example


class _Pair(NamedTuple):
  """A gold mention and its prediction; one of them may be None."""

  sentence: int
  gold: Span | None
  predicted: Span | None

  @property
  def mention(self) -> Span:
    """The gold mention where there is one, else the predicted."""
    mention = self.gold or self.predicted
    assert mention is not None
    return mention

  @property
  def same_words(self) -> bool:
    return (
      self.gold is not None
      and self.predicted is not None
      and self.gold[:2] == self.predicted[:2]
    )

  @property
  def category(self) -> str:
    if self.gold is None:
      return "false"
    if self.predicted is None:
      return "missed"
    same_type = self.gold.label == self.predicted.label
    if self.same_words:
      return "correct" if same_type else "wrong_type"
    return "wrong_boundary" if same_type else "wrong_both"


def analyse(
  train: Sequence[Sentence] | None,
  sentences: Sequence[Sentence],
  predicted: Sequence[Sequence[Span | ScoredSpan]],
) -> Json:
  """Sorts the mentions of both sides; a mention given twice counts once.

  Args:
    train: what the system was trained on; None if nobody knows: then counts
      are `all` instead of `seen` and `unseen`, and `by_seen` is left out.
    sentences: a split with its gold mentions.
    predicted: the mentions predicted in each of the sentences.

  Returns:
    A dict for JSON. `categories`: of each of CATEGORIES the counts `seen` and
    `unseen`, and `examples`, some from all over the split. `recall`: of gold
    mentions `by_words`, how many they have, and `by_seen`; each with the
    counts `gold`, `detected`, words right, and `correct`, type right too.
    `confusion`: `types`, and `table`, rows of counts: gold types and NONE by
    predicted types and NONE, where pairs are mentions with the same words.
  """
  known = {_text(s, span).lower() for s in train or () for span in s.spans}
  pairs = [
    _Pair(i, *both)
    for i, (sentence, found) in enumerate(
      zip(sentences, predicted, strict=True)
    )
    for both in _matched(sentence.spans, found)
  ]
  keys: tuple[str, ...] = _ALL
  seen = [*_ALL] * len(pairs)
  recall = {"by_words": _recall(pairs, map(_length, pairs), _LENGTHS)}
  if train is not None:
    keys = _SEEN
    seen = [
      _SEEN[_text(sentences[p.sentence], p.mention).lower() not in known]
      for p in pairs
    ]
    recall["by_seen"] = _recall(pairs, seen, _SEEN)
  return {
    "categories": {
      name: _category(sentences, name, pairs, seen, keys) for name in CATEGORIES
    },
    "recall": recall,
    "confusion": _confusion(pairs),
  }


def without_examples(analysis: Json) -> Json:
  """The counts alone, without a word of the corpus."""
  categories = {
    name: {key: n for key, n in category.items() if key != "examples"}
    for name, category in analysis["categories"].items()
  }
  return analysis | {"categories": categories}


def markdown(analysis: Json) -> str:
  """The analysis to read."""
  categories = analysis["categories"]
  types = [*analysis["confusion"]["types"], NONE]
  confusion = [["gold", *types]]
  for label, counts in zip(types, analysis["confusion"]["table"], strict=True):
    confusion.append([label, *map(str, counts)])
  parts = [
    "# Errors",
    "Each gold and each predicted mention is in one category, together with "
    "the mention of the other side that is closest to it. *Seen* are those "
    "whose text is a mention of the training data too, whatever its case and "
    "type.",
    category_table(analysis),
    "## Recall",
    "*Detected*: a prediction has the same words; *correct*: and the same "
    "type. In percent.",
    *recall_tables(analysis),
    "## Confused types",
    "Rows are gold types, columns predicted types. Mentions with the same "
    f"words are pairs; all others stand against {NONE}.",
    tables.markdown_table(confusion, left=1),
    "## Examples",
    "At most ten of a category, evenly spread over the split.",
  ]
  # What is right is looked at last.
  for name in [*list(CATEGORIES)[1:], "correct"]:
    lines = [_example_line(e) for e in categories[name]["examples"]]
    parts += [f"### {_title(name)}", "\n".join(lines) or "None."]
  return "\n\n".join(parts) + "\n"


def category_table(analysis: Json) -> str:
  """How many mentions are in each category; seen and unseen where known."""
  known = _SEEN if "by_seen" in analysis["recall"] else ()
  rows = [["category", "meaning", *known, *_ALL]]
  for name, meaning in CATEGORIES.items():
    category = analysis["categories"][name]
    counts = [category[key] for key in known or _ALL]
    total = [sum(counts)] if known else []
    rows.append([_title(name), meaning, *map(str, counts + total)])
  return tables.markdown_table(rows, left=2)


def recall_tables(analysis: Json) -> list[str]:
  """Recall by number of words, and of seen and unseen mentions where known."""
  return [
    _recall_table(f"gold mentions {title}", analysis["recall"][key])
    for key, title in (("by_words", "by words"), ("by_seen", "in training"))
    if key in analysis["recall"]
  ]


def draw_confusion(analysis: Json, path: str | os.PathLike[str]) -> None:
  """Draws the table of confused types as a PNG: same table, same bytes.

  Numbers are counts, a zero is blank; colours are shares of the row.
  """
  labels = [*analysis["confusion"]["types"], NONE]
  table = np.array(analysis["confusion"]["table"])
  shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
  side = 1.0 + 0.45 * len(labels)
  figure = pictures.new_figure(side, side)
  axes = figure.subplots()
  axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
  for (row, column), count in np.ndenumerate(table):
    if count:
      dark = shares[row, column] > 0.5
      axes.text(
        column,
        row,
        str(count),
        ha="center",
        va="center",
        fontsize=8,
        color="white" if dark else "black",
      )
  ticks = range(len(labels))
  # A type may have a dollar sign in its name.
  axes.set_xticks(ticks, labels, rotation=90, fontsize=9, parse_math=False)
  axes.set_yticks(ticks, labels, fontsize=9, parse_math=False)
  axes.set_xlabel("predicted")
  axes.set_ylabel("gold")
  pictures.save_png(figure, path)


def write(analysis: Json, folder: str | os.PathLike[str], split: str) -> None:
  """Writes errors-SPLIT.md and its picture, errors-SPLIT.png.

  Raises:
    UserError: the folder cannot be written to.
  """
  stem = pathlib.Path(folder) / f"errors-{split}"
  atomic_write(stem.with_suffix(".md"), [markdown(analysis)])
  draw_confusion(analysis, stem.with_suffix(".png"))


def _matched(
  gold: Iterable[Span], predicted: Iterable[Span | ScoredSpan]
) -> Iterator[tuple[Span | None, Span | None]]:
  """Pairs of a sentence's mentions, by position; each mention is in one."""
  wanted = sorted(set(gold))
  found = sorted({Span(*span[:3]) for span in predicted})

  def distance(pair: tuple[Span, Span]) -> tuple[object, ...]:
    g, p = pair
    same_words, same_type = g[:2] == p[:2], g.label == p.label
    # By position between equals, so that there is one answer.
    return not same_words, not same_type, -_overlap(g, p), g, p

  starts = [p.start for p in found]
  furthest = [*itertools.accumulate((p.end for p in found), max)]
  candidates: list[tuple[Span, Span]] = []
  for g in wanted:  # Of the others only those near it are looked at.
    near = slice(bisect_right(furthest, g.start), bisect_left(starts, g.end))
    candidates += [(g, p) for p in found[near] if _overlap(g, p) > 0]
  partners: dict[Span, Span] = {}
  taken: set[Span] = set()
  for g, p in sorted(candidates, key=distance):
    if g not in partners and p not in taken:
      partners[g] = p
      taken.add(p)
  pairs: list[tuple[Span | None, Span | None]] = [
    *((g, partners.get(g)) for g in wanted),
    *((None, p) for p in found if p not in taken),
  ]
  return iter(sorted(pairs, key=lambda pair: pair[0] or pair[1] or ()))


def _overlap(a: Span, b: Span) -> int:
  return min(a.end, b.end) - max(a.start, b.start)


def _text(sentence: Sentence, span: Span) -> str:
  return " ".join(sentence.words[span.start : span.end])


def _length(pair: _Pair) -> str:
  words = pair.mention.end - pair.mention.start
  return _LENGTHS[min(words, len(_LENGTHS)) - 1]


def _category(
  sentences: Sequence[Sentence],
  name: str,
  pairs: Sequence[_Pair],
  seen: Sequence[str],
  keys: Sequence[str],
) -> Json:
  chosen = [
    (pair, key)
    for pair, key in zip(pairs, seen, strict=True)
    if pair.category == name
  ]
  counts = Counter(key for _, key in chosen)
  shown = min(_EXAMPLES, len(chosen))
  # The middles of as many equal parts.
  where = [(2 * i + 1) * len(chosen) // (2 * shown) for i in range(shown)]
  return {
    **{key: counts[key] for key in keys},
    "examples": [
      _example(sentences[chosen[i][0].sentence], *chosen[i]) for i in where
    ],
  }


def _example(sentence: Sentence, pair: _Pair, seen: str) -> Json:
  spans = [span for span in (pair.gold, pair.predicted) if span]
  first = max(0, min(span.start for span in spans) - _CONTEXT)
  end = max(span.end for span in spans) + _CONTEXT
  text = " ".join(sentence.words[first:end])
  if first:
    text = f"... {text}"
  if end < len(sentence.words):
    text = f"{text} ..."

  def side(span: Span | None) -> dict[str, str] | None:
    return span and {"text": _text(sentence, span), "type": span.label}

  return {
    "text": text,
    "gold": side(pair.gold),
    "predicted": side(pair.predicted),
    "seen": None if seen in _ALL else seen == "seen",
    # Without the folder, which is of one machine only.
    "source": re.split(r"[/\\]", sentence.source)[-1],
  }


def _recall(
  pairs: Sequence[_Pair], keys: Iterable[str], order: Sequence[str]
) -> dict[str, dict[str, int]]:
  table = {key: {"gold": 0, "detected": 0, "correct": 0} for key in order}
  for pair, key in zip(pairs, keys, strict=True):
    if pair.gold:
      table[key]["gold"] += 1
      table[key]["detected"] += pair.same_words
      table[key]["correct"] += pair.category == "correct"
  return table


def _confusion(pairs: Sequence[_Pair]) -> Json:
  cells: Counter[tuple[str | None, str | None]] = Counter()
  for pair in pairs:
    gold, predicted = (span and span.label for span in pair[1:])
    if pair.same_words:
      cells[gold, predicted] += 1
    else:
      cells[gold, None] += gold is not None
      cells[None, predicted] += predicted is not None
  types = sorted(
    {label for cell in cells for label in cell if label is not None}
  )
  sides = [*types, None]
  return {
    "types": types,
    "table": [[cells[row, column] for column in sides] for row in sides],
  }


def _recall_table(title: str, counts: dict[str, dict[str, int]]) -> str:
  rows = [[title, "gold", "detected", "correct"]]
  for key, row in counts.items():
    shares = [
      f"{100 * row[name] / row['gold']:.2f}" if row["gold"] else ""
      for name in ("detected", "correct")
    ]
    rows.append([key, str(row["gold"]), *shares])
  return tables.markdown_table(rows, left=1)


def _title(name: str) -> str:
  return name.replace("_", " ")


def _example_line(example: Json) -> str:
  sides = [
    f"{key} {_code(side['text'])} {side['type']}"
    for key in ("gold", "predicted")
    if (side := example[key])
  ]
  told = f"{', '.join(sides)}: {_code(example['text'])}"
  seen = {True: "seen", False: "unseen", None: ""}[example["seen"]]
  notes = [seen, example["source"]]
  return f"- {told} ({', '.join(filter(None, notes))})"


def _code(text: str) -> str:
  """Text of any kind as code in Markdown, which shows it as it is."""
  ticks = max(map(len, re.findall("`+", text)), default=0)
  fence, gap = "`" * (ticks + 1), " " * (ticks > 0)
  return f"{fence}{gap}{text}{gap}{fence}"
