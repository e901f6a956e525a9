"""Systems: tasks joined into something that turns sentences into mentions.

All systems have the same `predict`, and one scorer judges them.
"""

import dataclasses
from collections.abc import Sequence

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.tasks import MentionTask, Run, TokenTask


@dataclasses.dataclass(frozen=True)
class SplitNER:
  """The paper's system: detect spans, then classify each.

  Attributes:
    detector, classifier: the two tasks.
    run_detector, run_classifier: their forward passes, parameters bound.
  """

  detector: TokenTask
  classifier: MentionTask
  run_detector: Run
  run_classifier: Run

  def predict(self, sentences: Sequence[Sentence]) -> list[list[ScoredSpan]]:
    """The mentions of each sentence, with types.

    The score is the span's probability times the type's.
    """
    spans = self.detector.predict(self.run_detector, sentences)
    types = self.classifier.predict(self.run_classifier, sentences, spans)
    return [
      [
        ScoredSpan(span.start, span.end, label, span.score * score)
        for span, (label, score) in zip(row, answers, strict=True)
      ]
      for row, answers in zip(spans, types, strict=True)
    ]
