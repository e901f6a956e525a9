"""The temperature of the classifier, and how far scores are from the truth."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation.calibration import (
  Judged,
  expected_calibration_error,
  fit_temperature,
)
from splitner_jax.tasks.base import remembering
from splitner_jax.tasks.systems import SplitNER


def calibrate(
  system: SplitNER, sentences: Sequence[Sentence]
) -> tuple[SplitNER, dict[str, Any]]:
  """Fits the temperature of the classifier on a split's gold mentions.

  Returns:
    The system with it; and for `report.json`, `temperature`, and
    `type_on_gold_dev`: the expected calibration error of the type's
    probability, in percent, `before` and `after`. Mentions of types that the
    classifier does not know are left out.
  """
  task = system.classifier
  examples, _ = task.training_examples(sentences)
  known = examples.weights > 0
  labels = examples.labels[known]
  logits = np.reshape(
    np.asarray(system.run_classifier(examples), np.float64),
    (len(examples.targets), len(task.answers)),
  )[known]
  temperature = fit_temperature(logits, labels)

  def error(t: float) -> float:
    shifted = (logits - logits.max(axis=-1, keepdims=True)) / t
    # Of the likeliest type: its exponential is 1.
    scores = 1 / np.exp(shifted).sum(axis=-1)
    correct = logits.argmax(axis=-1) == np.array(labels, int)
    return expected_calibration_error(scores, correct)

  task = dataclasses.replace(task, temperature=temperature)
  return dataclasses.replace(system, classifier=task), {
    "temperature": temperature,
    "type_on_gold_dev": {"before": error(1.0), "after": error(temperature)},
  }


def score_errors(
  system: SplitNER,
  sentences: Sequence[Sentence],
  predicted: Sequence[list[ScoredSpan]],
) -> dict[str, float]:
  """Expected calibration error of predictions' scores, in percent.

  Args:
    system: what predicted them.
    sentences: with gold mentions.
    predicted: of each sentence.

  Returns:
    `before`: as the scores were with a temperature of 1; and `after`.
  """
  run = remembering(system.run_classifier)
  plain = dataclasses.replace(system.classifier, temperature=1.0)
  # Of a score, only the type's probability depends on the temperature.
  types = [
    np.array([p for row in rows for _, p in row])
    for rows in (
      task.predict(run, sentences, predicted)
      for task in (plain, system.classifier)
    )
  ]
  judged = Judged.of(sentences, predicted)
  before = np.minimum(judged.scores * types[0] / types[1], 1.0)
  return {
    "before": expected_calibration_error(before, judged.correct),
    "after": expected_calibration_error(judged.scores, judged.correct),
  }
