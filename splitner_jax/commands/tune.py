"""Tunes the thresholds of a model on a labelled file:

splitner tune --model=FOLDER --data=FILE --target=f1

writes them into its folder. Targets: precision:0.95, recall:0.8 (any shares),
f1.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from absl import logging as absl_logging

from splitner_jax.commands import cli
from splitner_jax.data import formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.evaluation.calibration import (
  Counts,
  Judged,
  Target,
  choose_thresholds,
)
from splitner_jax.runtime.errors import UserError

# JAX is imported with the model: --help need not wait for it.
if TYPE_CHECKING:
  from splitner_jax.inference.ner_model import Thresholds, TrainedSystem
  from splitner_jax.tasks.systems import System

O_BIASES = tuple(-i / 2 for i in range(11))
"""Values of `o_bias` that are tried for recall, in this order."""


def _buy_recall(
  system: "System", sentences: Sequence[Sentence], target: Target
) -> tuple[float, Judged]:
  """The first `o_bias` that reaches a recall, or comes closest to it."""
  from splitner_jax.tasks.systems import biased

  tried = []
  for o_bias in O_BIASES:
    predicted = biased(system, o_bias).predict(sentences)
    judged = Judged.of(sentences, predicted)
    tried.append((o_bias, judged))
    if target.is_reached(judged.counts()):
      return o_bias, judged
  return max(tried, key=lambda pair: target.merit(pair[1].counts()))


def tune(
  trained: "TrainedSystem",
  sentences: Sequence[Sentence],
  target: Target,
  batch_size: int = 32,
) -> tuple["TrainedSystem", str]:
  """Tunes the thresholds, and for recall the detector's `o_bias`.

  Args:
    trained: the model.
    sentences: with gold mentions, best those of a dev split.
    target: what to reach on them.
    batch_size: sentences that are computed at a time.

  Returns:
    The tuned model; and what was reached, Markdown.
  """
  from splitner_jax.inference.ner_model import Thresholds
  from splitner_jax.tasks.base import remembering
  from splitner_jax.tasks.systems import biased

  system = trained.system(batch_size).with_runs(remembering)
  finder = system.FINDER
  if target.measure == "recall":  # What it drops is to come back.
    system = dataclasses.replace(system, min_score=0.0)
  first = last = Judged.of(sentences, system.predict(sentences))
  was = o_bias = getattr(system, finder).o_bias
  if target.measure == "recall":
    o_bias, last = _buy_recall(system, sentences, target)
  thresholds = Thresholds(*choose_thresholds(last, target))
  task = getattr(biased(system, o_bias), finder)
  tuned = dataclasses.replace(
    trained,
    tasks={**trained.tasks, finder: task},
    min_score=system.min_score,
    thresholds=thresholds,
  )
  parts = [_table((first, trained.thresholds), (last, thresholds))]
  if o_bias != was:
    parts.append(f"o_bias of the {finder}: {was:g} before, {o_bias:g} after")
  counts = last.counts(thresholds.default, thresholds.per_type)
  if target.measure != "f1":
    reached, value = 100 * target.merit(counts)[0], 100 * target.value
    parts.append(
      f"{target.measure} {value:.2f} is reached"
      if target.is_reached(counts)
      else f"{target.measure} {value:.2f} cannot be reached on this data: the "
      f"nearest found is {reached:.2f}, {value - reached:.2f} too low"
    )
  return tuned, "\n\n".join(parts)


def _table(*versions: "tuple[Judged, Thresholds]") -> str:
  """Scores of all mentions and of each type, before and after."""
  from splitner_jax.evaluation.tables import markdown_table

  rows = [["type", "", "gold", "threshold", "precision", "recall", "F1"]]

  def add(name: str, when: str, counts: Counts, threshold: float) -> None:
    shares = (counts.precision, counts.recall, counts.f1)
    figures = [f"{100 * x:.2f}" for x in shares]
    rows.append([name, when, str(counts.gold), f"{threshold:.4f}", *figures])

  for when, (judged, least) in zip(("before", "after"), versions, strict=True):
    counts = judged.counts(least.default, least.per_type)
    add("all", when, counts, least.default)
  labels = {str(x) for judged, _ in versions for x in judged.labels}
  for label in sorted(labels.union(*(judged.gold for judged, _ in versions))):
    for when, (judged, least) in zip(
      ("before", "after"), versions, strict=True
    ):
      threshold = least.of(label)
      add(label, when, judged.part(label).counts(threshold), threshold)
  return markdown_table(rows, left=2)


def tune_folder(model: str, data: str, target: Target) -> str:
  """Tunes a model's folder on a labelled file; what was reached, Markdown.

  Raises:
    UserError: the model or the file cannot be read, or the folder not be
      written; it is then as it was.
  """
  from splitner_jax.inference import model_folder

  folder = pathlib.Path(model)
  if not folder.is_dir():
    raise UserError(
      f"--model: {model} is no folder; give one, for the thresholds are "
      "written into it"
    )
  if folder.resolve() in pathlib.Path(data).resolve().parents:
    raise UserError(
      f"--data: {data} is in the model's folder, which will be replaced; move "
      "the file"
    )
  sentences = formats.read(data)
  if not any(s.spans for s in sentences):
    raise UserError(f"--data: {data} has no mentions; give a labelled file")
  tuned, text = tune(model_folder.load(model), sentences, target)
  model_folder.save(model, tuned)
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
    print(tune_folder(_flag("model"), _flag("data"), target))
  except UserError as e:
    cli.fail(str(e))
  print(f"\nwritten to {_flag('model')}")
