"""How a system's answers become mentions: one record for every system."""

import dataclasses

from splitner_jax.evaluation.thresholds import Thresholds


@dataclasses.dataclass(frozen=True)
class Decoding:
  """What turns logits into mentions, chosen after training.

  Attributes:
    outside_bias: added to the logit of O of the task that finds the spans; a
      lower one finds more spans, right and wrong.
    temperature: what the classifier's logits are divided by before they are
      probabilities.
    thresholds: which mentions are dropped. Mentions that overlap, as those of
      several questions may, are resolved before.
  """

  outside_bias: float = 0.0
  temperature: float = 1.0
  thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)
