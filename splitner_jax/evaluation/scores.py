"""What predictions are worth: of a system, or of a file beside a gold file."""

import os
from collections.abc import Sequence

from splitner_jax.data import formats
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import error_analysis, metrics, significance
from splitner_jax.evaluation.tables import figures, markdown_table
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines
from splitner_jax.runtime.types import Json

_ROWS = {
  "all_sentences": "all sentences",
  "detection": "spans, whatever their type",
}


def score_mentions(
  sentences: Sequence[Sentence],
  predicted: Sequence[Sequence[Span | ScoredSpan]],
) -> Json:
  """The scores that need no more than mentions of both sides.

  Args:
    sentences: with their gold mentions.
    predicted: the mentions predicted in each of them.

  Returns:
    `all_sentences`, `interval`, `detection`, `sentences`, `gold_mentions` and
    `per_sentence` of a split of `report.json`, see `experiment.report`.
  """
  gold = [s.spans for s in sentences]
  counts = metrics.counts_per_sentence(gold, predicted)
  return {
    "all_sentences": metrics.score(gold, predicted),
    "interval": list(metrics.bootstrap_interval(counts)),
    "detection": metrics.score_detection(gold, predicted),
    "sentences": len(sentences),
    "gold_mentions": sum(len(spans) for spans in gold),
    "per_sentence": significance.pack(counts),
  }


def score_files(
  gold: str,
  predicted: str,
  train: str | None = None,
  *,
  word_column: int = 0,
  gold_column: int = -1,
  predicted_column: int = -1,
) -> Json:
  """Scores a file of predictions; all are in any format of `formats.read`.

  The reference protocol is left out: it needs to know in which sentences a
  detector found nothing, and a file does not say what came of its spans.

  Args:
    gold: file with the gold mentions.
    predicted: file of the same sentences with the predicted mentions.
    train: file that the system was trained on, to tell seen mentions apart.
    word_column: of all files of columns.
    gold_column: of the tags, in `gold` and `train` of columns.
    predicted_column: of the tags, in `predicted` of columns.

  Returns:
    The paths `gold` and `predicted`; what `score_mentions` says; and `errors`,
    see `error_analysis.analyse`, without examples.

  Raises:
    UserError: a file cannot be read, or they are not of the same sentences.
  """
  if os.path.realpath(gold) == os.path.realpath(predicted):
    _check_two_sides(gold, gold_column, predicted_column)
  wanted = formats.read(gold, word_column=word_column, tag_column=gold_column)
  found = formats.read(
    predicted,
    word_column=word_column,
    tag_column=predicted_column,
    predicted=True,
  )
  _check_same_sentences(wanted, found, gold, predicted)
  known = train and formats.read(
    train, word_column=word_column, tag_column=gold_column
  )
  mentions = [s.spans for s in found]
  errors = error_analysis.analyse(known or None, wanted, mentions)
  return {
    "gold": gold,
    "predicted": predicted,
    **score_mentions(wanted, mentions),
    "errors": error_analysis.without_examples(errors),
  }


def _check_two_sides(
  path: str, gold_column: int, predicted_column: int
) -> None:
  """Raises UserError if one file has no predictions beside its gold."""
  if formats.is_columns(path):
    row = formats.first_row(read_lines(path))
    both = {gold_column, predicted_column}
    # Counted from either side; what is no column is told by who reads it.
    if len({column % len(row) for column in both} if row else both) == 1:
      raise UserError(
        f"{path}: gold and predicted tags are in the same column of one file; "
        "name the columns with --gold_column and --predicted_column"
      )
  elif not formats.has_predictions(path):
    raise UserError(
      f"{path}: one file for both, without 'predicted' in each of its "
      "records; give the predictions in a file of their own"
    )


def _check_same_sentences(
  gold: Sequence[Sentence],
  predicted: Sequence[Sentence],
  gold_path: str,
  predicted_path: str,
) -> None:
  """Raises UserError that names the first difference."""
  for number, (one, other) in enumerate(
    zip(gold, predicted, strict=False), start=1
  ):
    where = f"{other.source}: sentence {number}"
    for place, (word, found) in enumerate(
      zip(one.words, other.words, strict=False), start=1
    ):
      if word != found:
        raise UserError(
          f"{where} has {found!r} as its word {place}, but {one.source} has "
          f"{word!r}; give predictions of the same sentences"
        )
    if len(one.words) != len(other.words):
      raise UserError(
        f"{where} has {len(other.words)} words, but {one.source} has "
        f"{len(one.words)}; give predictions of the same sentences"
      )
  if len(gold) != len(predicted):
    raise UserError(
      f"{predicted_path}: has {len(predicted)} sentences, but {gold_path} has "
      f"{len(gold)}; give predictions of all sentences"
    )


def markdown(result: Json) -> str:
  """What `score_files` returns, to read."""
  low, high = result["interval"]
  scores = [["", "gold", "predicted", "correct", "precision", "recall", "F1"]]
  types = [["type", *scores[0][1:]]]

  def row(name: str, figure: Json) -> list[str]:
    counts = [str(figure[key]) for key in ("gold", "predicted", "correct")]
    return [name, *counts, *figures(figure)]

  scores += [row(title, result[key]) for key, title in _ROWS.items()]
  types += [
    row(name, figure)
    for name, figure in result["all_sentences"]["per_type"].items()
  ]
  return "\n\n".join(
    [
      f"{result['predicted']} beside {result['gold']}: {result['sentences']} "
      f"sentences, {result['gold_mentions']} gold mentions. A mention is "
      "correct if its words and its type are right; given twice it counts "
      "once. Every sentence counts.",
      markdown_table(scores, left=1),
      f"F1 over all sentences is between {low:.2f} and {high:.2f} in 95 of 100 "
      "resamplings of the sentences.",
      markdown_table(types, left=1),
      error_analysis.category_table(result["errors"]),
      *error_analysis.recall_tables(result["errors"]),
    ]
  )
