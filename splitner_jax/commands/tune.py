"""Tunes the thresholds of a model on a labelled file:

splitner tune --model=FOLDER --data=FILE --target=f1

writes them into its folder. Targets: precision:0.95, recall:0.8 (any shares),
f1.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from absl import logging as absl_logging

from splitner_jax.commands import cli, data_flags, tagging_flags
from splitner_jax.data import formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.evaluation.metrics import Counts
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.evaluation.thresholds import (
  MatchedPredictions,
  Target,
  Thresholds,
)
from splitner_jax.runtime import sizes
from splitner_jax.runtime.errors import UserError

# JAX is imported with the model: --help need not wait for it.
if TYPE_CHECKING:
  from splitner_jax.inference.ner_model import NerModel


def tune(
  model: "NerModel",
  sentences: Sequence[Sentence],
  target: Target,
  batch_size: int = 32,
) -> tuple["NerModel", str]:
  """Tunes the thresholds, and for recall the outside bias.

  Args:
    model: to be tuned.
    sentences: with gold mentions, best those of a dev split.
    target: what to reach on them.
    batch_size: sentences that are computed at a time.

  Returns:
    The tuned model; and what was reached, Markdown.
  """
  from splitner_jax.inference import tuning

  was = model.decoding
  biases: Sequence[float] = [was.outside_bias]
  if target.measure == "recall":
    biases = tuning.RECALL_BIASES
  tuned = tuning.tune(model.predictor(batch_size), sentences, target, biases)
  now = tuned.decoding
  parts = [
    _table((tuned.before, was.thresholds), (tuned.matched, now.thresholds))
  ]
  if now.outside_bias != was.outside_bias:
    parts.append(
      f"o_bias of the {model.kind.detection_task}: {was.outside_bias:g} "
      f"before, {now.outside_bias:g} after"
    )
  counts = tuned.matched.counts(now.thresholds)
  if target.measure != "f1":
    reached, wanted = target.objective(counts)[0], target.percent
    parts.append(
      f"{target.measure} {wanted:.2f} is reached"
      if target.is_reached(counts)
      else f"{target.measure} {wanted:.2f} cannot be reached on this data: the "
      f"nearest found is {reached:.2f}, {wanted - reached:.2f} too low"
    )
  return dataclasses.replace(model, decoding=now), "\n\n".join(parts)


def _table(*versions: tuple[MatchedPredictions, Thresholds]) -> str:
  """Scores of all mentions and of each type, before and after."""
  rows = [["type", "", "gold", "threshold", "precision", "recall", "F1"]]

  def add(name: str, when: str, counts: Counts, threshold: float) -> None:
    figures = [counts.precision, counts.recall, counts.f1]
    rows.append(
      [
        name,
        when,
        str(counts.gold),
        f"{threshold:.4f}",
        *(f"{x:.2f}" for x in figures),
      ]
    )

  both = list(zip(("before", "after"), versions, strict=True))
  for when, (matched, thresholds) in both:
    add("all", when, matched.counts(thresholds), thresholds.default)
  labels = {str(x) for matched, _ in versions for x in matched.labels}
  for label in sorted(labels.union(*(m.gold for m, _ in versions))):
    for when, (matched, thresholds) in both:
      counts = matched.of_type(label).counts(thresholds)
      add(label, when, counts, thresholds.of(label))
  return markdown_table(rows, left=2)


def tune_folder(
  model: str,
  data: str,
  target: Target,
  *,
  word_column: int = 0,
  tag_column: int = -1,
  batch_size: int = 32,
) -> str:
  """Tunes a model's folder on a labelled file; what was reached, Markdown.

  Args:
    model: the folder.
    data: the file.
    target: what to reach.
    word_column, tag_column: of `formats.read`.
    batch_size: of `tune`.

  Raises:
    UserError: the model or the file cannot be read, the file has types that
      the model does not know, or the folder cannot be written; it is then as
      it was.
  """
  from splitner_jax.inference import model_folder

  folder = pathlib.Path(os.path.expanduser(model))
  if not folder.is_dir():
    raise UserError(
      f"--model: {model} is no folder; give one, for the thresholds are "
      "written into it"
    )
  sentences = formats.read(data, word_column=word_column, tag_column=tag_column)
  if not any(s.spans for s in sentences):
    raise UserError(f"--data: {data} has no mentions; give a labelled file")
  loaded = model_folder.load(str(folder))
  for sentence in sentences:
    for _, _, label in sentence.spans:
      if label not in loaded.labels:
        raise UserError(
          f"{sentence.source}: type {label!r} is none of the model's, "
          f"{', '.join(loaded.labels)}; rename it or take it out"
        )
  tuned, text = tune(loaded, sentences, target, batch_size)
  model_folder.save_decoding(folder, tuned.decoding)
  return text


def _flag(name: str) -> str:
  return str(flags.FLAGS[name].value or "")


def define_flags() -> None:
  for name, what in (
    ("model", "folder of a model; it will have the thresholds"),
    ("data", "a labelled file: columns or JSON Lines"),
    ("target", "precision:0.95, recall:0.8 or f1"),
  ):
    flags.DEFINE_string(name, None, what)
  data_flags.define_columns(tag_column="gold")
  tagging_flags.define_batch_size()


def check_flags() -> None:
  for name, what in (
    ("model", "the folder `model` of a run"),
    ("data", "a labelled file that was not trained on"),
    ("target", "precision:0.95, recall:0.8 or f1"),
  ):
    if not _flag(name):
      raise UserError(f"--{name} is missing; give {what}")
  Target.parse(_flag("target"))


def main(argv: list[str]) -> None:
  del argv
  from splitner_jax.runtime import compilation

  absl_logging.set_verbosity(absl_logging.WARNING)
  compilation.use_compilation_cache()
  try:
    target = Target.parse(_flag("target"))
    with sizes.told("lower --batch_size"):
      text = tune_folder(
        _flag("model"),
        _flag("data"),
        target,
        word_column=flags.FLAGS.word_column,
        tag_column=flags.FLAGS.tag_column,
        batch_size=flags.FLAGS.batch_size,
      )
    print(text)
  except UserError as e:
    cli.fail(str(e))
  print(f"\nwritten to {_flag('model')}")
