"""The temperature of a classifier, and how far scores are from the truth."""

from collections.abc import Sequence

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation.calibration import (
  expected_calibration_error,
  fit_temperature,
)
from splitner_jax.evaluation.thresholds import MatchedPredictions
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import TypeLogits


def calibrate(found: TypeLogits) -> tuple[float, Json]:
  """Fits a temperature to what a classifier says of mentions.

  Returns:
    It; and for `report.json`, `temperature`, and `type_on_gold_dev`: the
    expected calibration error of the type's probability, in percent, `before`
    and `after`.
  """
  import scipy.special  # Slow, and needed at the end of a training only.

  temperature = fit_temperature(*found)
  correct = found.logits.argmax(axis=-1) == found.classes

  def error(t: float) -> float:
    scores = scipy.special.softmax(found.logits / t, axis=-1)
    return expected_calibration_error(scores.max(axis=-1), correct)

  return temperature, {
    "temperature": temperature,
    "type_on_gold_dev": {"before": error(1.0), "after": error(temperature)},
  }


def score_errors(
  predictor: Predictor,
  reading: object,
  decoding: Decoding,
  sentences: Sequence[Sentence],
) -> dict[str, float]:
  """Expected calibration error of predictions' scores, in percent.

  Args:
    predictor: of the model.
    reading: of the sentences.
    decoding: the model's.
    sentences: with gold mentions.

  Returns:
    `before`: as the scores of these predictions would be with a temperature
    of 1; and `after`.
  """
  plain = Decoding(decoding.outside_bias)
  scores = [
    {span.span: span.score for span in row}
    for row in predictor.decode(reading, plain).mentions
  ]
  after = predictor.decode(reading, decoding).mentions
  before = [
    [span._replace(score=known[span.span]) for span in row]
    for row, known in zip(after, scores, strict=True)
  ]

  def error(predicted: list[list[ScoredSpan]]) -> float:
    matched = MatchedPredictions.of(sentences, predicted)
    return expected_calibration_error(matched.scores, matched.correct)

  return {"before": error(before), "after": error(after)}
