"""The decoding of a model, chosen on a labelled split."""

import dataclasses
from collections.abc import Sequence

from splitner_jax.data.sentences import Sentence
from splitner_jax.evaluation.thresholds import (
  MatchedPredictions,
  Target,
  Thresholds,
  best_thresholds,
)
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.tasks.decoding import Decoding

OUTSIDE_BIASES = tuple(i / 2 for i in range(1, -9, -1))
LEAST_SCORES = tuple(i / 20 for i in range(15))
"""What training tries on dev: few values, which dev can tell apart."""
RECALL_BIASES = tuple(-i / 2 for i in range(11))
"""What is tried for a recall that no threshold can give."""


@dataclasses.dataclass(frozen=True)
class Tuned:
  """A decoding that was chosen, and what it was chosen by.

  Attributes:
    decoding: the best.
    matched: all predictions with its outside bias, thresholds apart.
    before: the same with the bias that the model had.
  """

  decoding: Decoding
  matched: MatchedPredictions
  before: MatchedPredictions


def tune(
  predictor: Predictor,
  sentences: Sequence[Sentence],
  target: Target,
  outside_biases: Sequence[float],
  least_scores: Sequence[float] | None = None,
  *,
  own: Decoding | None = None,
  reading: object = None,
) -> Tuned:
  """Chooses outside bias and thresholds; the models run once.

  Args:
    predictor: of the model.
    sentences: with gold mentions, best of a split that was not trained on.
    target: to be reached, or missed by as little as can be.
    outside_biases: those to try. Of equals, the one nearest to 0 is taken.
    least_scores: those to try, for all types alike; None: whatever thresholds
      come closest to the target, of each type that has enough mentions.
    own: the model's decoding, if not the predictor's; its temperature stays.
    reading: of the sentences with its bias and those to try, if there is one.
  """
  own = own or predictor.decoding
  biases = [*dict.fromkeys([own.outside_bias, *outside_biases])]
  if reading is None:
    reading = predictor.read(sentences, outside_biases=biases)

  def matched(bias: float) -> MatchedPredictions:
    decoding = Decoding(bias, own.temperature)
    found = predictor.decode(reading, decoding).mentions
    return MatchedPredictions.of(sentences, found)

  predictions = {bias: matched(bias) for bias in biases}
  options: list[tuple[float, Thresholds]] = []
  for bias in outside_biases:
    if least_scores is None:
      options.append((bias, best_thresholds(predictions[bias], target)))
    else:
      options += [(bias, Thresholds(least)) for least in least_scores]

  def worth(option: tuple[float, Thresholds]) -> tuple[float, ...]:
    bias, thresholds = option
    reached = target.objective(predictions[bias].counts(thresholds))
    # Of equals the one that changes least.
    return *reached, -abs(bias), -thresholds.default

  bias, thresholds = max(options, key=worth)
  return Tuned(
    Decoding(bias, own.temperature, thresholds),
    predictions[bias],
    predictions[own.outside_bias],
  )
