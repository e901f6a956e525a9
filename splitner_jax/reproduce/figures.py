"""What is shown of a run: the columns of our figures."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

from splitner_jax.experiment.seeds import mean_and_deviation
from splitner_jax.runtime.types import Json

Reports = list[Json]


class Column(NamedTuple):
  """A column of our figures."""

  title: str
  figure: Callable[[Json], float]

  def of(self, found: Reports) -> str:
    """The mean over the seeds and its deviation; "-" if it was not measured."""
    try:
      mean, deviation = mean_and_deviation([self.figure(r) for r in found])
    except KeyError:
      return "-"
    return f"{mean:.2f}" + (
      f" ± {deviation:.2f}" if deviation is not None else ""
    )


HONEST = Column("all sentences", lambda r: r["test"]["all_sentences"]["f1"])
REFERENCE = Column(
  "reference protocol", lambda r: r["test"]["reference_protocol"]["f1"]
)
DETECTION = Column("detection", lambda r: r["test"]["detection"]["f1"])
DETECTION_DEV = Column("detection, dev", lambda r: r["dev"]["detection"]["f1"])
ON_GOLD = Column(
  "types of gold mentions",
  lambda r: r["test"]["classification_on_gold"]["f1"],
)
ON_GOLD_DEV = Column(
  "types of gold mentions, dev",
  lambda r: r["dev"]["classification_on_gold"]["f1"],
)
DEV = Column("dev, all sentences", lambda r: r["dev"]["all_sentences"]["f1"])


def _classifier_epoch(report: Json) -> float:
  return statistics.median(report["seconds"]["classifier"]["epochs"])


CLASSIFIER_EPOCH = Column("an epoch of the classifier, s", _classifier_epoch)
