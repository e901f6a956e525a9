"""The measuring of one workload: sides are made, take turns, and are left."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment.default_config import VARIANTS
from splitner_jax.experiment.task_specs import Experiment, prepare
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime.types import Json
from splitner_jax.throughput import figures, latency, parts, tagging, training
from splitner_jax.throughput.flops import MatrixProduct
from splitner_jax.throughput.sides import Side
from splitner_jax.throughput.turns import LEAST_TURNS, take_turns
from splitner_jax.throughput.workloads import Workload

TORCH = "torch_tagger"
SYSTEMS = (
  figures.OURS,
  "single_qa",
  "single_seqtag",
  TORCH,
  "seqtag_qa",
  "no_char_pattern",
)
PHASES = ("train", "inference", "latency")

_LEAST_TEXTS = 32
"""Of a turn of tagging: fewer would be in batches that are not full."""

Sides = dict[str, dict[str, Side]]
"""Of each system its tasks."""


class Clock:
  """The time that is left, and what did not fit into it.

  Attributes:
    left_out: what was not measured, and why.
  """

  def __init__(self, minutes: float | None):
    """With so many minutes; None: all the time there is."""
    self._minutes = minutes
    self._end = np.inf if minutes is None else time.monotonic() + 60 * minutes
    self._longest = 0.0
    self.left_out: list[str] = []

  def fits(self, what: str) -> bool:
    """Whether there is time for as much as the longest piece so far took."""
    fits = self._left() > self._longest
    if not fits:
      self.left_out.append(f"{what}: no time left of {self._minutes:g} minutes")
    return fits

  @contextlib.contextmanager
  def piece(self) -> Iterator[None]:
    """Around a piece of work."""
    start = time.monotonic()
    yield
    self._longest = max(self._longest, time.monotonic() - start)

  def share(self, seconds: float) -> float:
    """At most so many seconds, and a quarter of what is left."""
    return max(min(seconds, self._left() / 4), 0.0)

  def _left(self) -> float:
    return self._end - time.monotonic()


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is measured of each workload.

  Attributes:
    systems: of `SYSTEMS`.
    phases: of `PHASES`.
    seconds: that sides take turns, in each phase.
    model: a trained model that takes SplitNER's place in tagging.
    profile: keeps the profiles of training steps.
  """

  systems: tuple[str, ...] = SYSTEMS[:4]
  phases: tuple[str, ...] = PHASES
  seconds: float = 20.0
  model: NerModel | None = None
  profile: pathlib.Path | None = None


class Measuring:
  """Measures a workload, into a report.

  Attributes:
    report: gets `systems`, `ratios` and so on; see `benchmark`.
  """

  def __init__(
    self,
    workload: Workload,
    settings: Settings,
    clock: Clock,
    product: MatrixProduct,
    say: Callable[[str], None],
  ):
    """Makes the systems; nothing is compiled yet.

    Args:
      workload: what is read.
      settings: what is measured.
      clock: says when to stop.
      product: takes its turns with the others, whose use of it is measured.
      say: is told what is going on.
    """
    self._workload, self._settings = workload, settings
    self._clock, self._product = clock, product
    self._say = lambda what: say(f"{workload.corpus.name}: {what}")
    self._runs = {
      system: _experiment(workload, system)
      for system in settings.systems
      if system != TORCH
    }
    self._first = next(iter(self._runs.values()), None) or _experiment(
      workload, figures.OURS
    )
    self._texts = [
      s.text if workload.as_text else s.words for s in workload.corpus.test
    ]
    self.report: Json = {"systems": {}}

  def run(self, *, closer: bool) -> Json:
    """The report.

    Args:
      closer: whether the parts of a step and latency are measured too.
    """
    phases = set(self._settings.phases)
    if closer:
      train = self._workload.corpus.train
      self.report["workload"] = self._workload.describe(
        self._tokens(train) / len(train), len(self._texts)
      )
    if "train" in phases:
      self._train(closer)
    if "inference" in phases or (closer and "latency" in phases):
      self._tag(closer)
    return self.report

  def _tokens(self, sentences: Sequence[Sentence]) -> int:
    """Subwords of sentences, without questions."""
    part = next(iter(self._first.parts.values()))
    return int(part.task.tokenizer([s.words for s in sentences]).sizes().sum())

  def _fits(self, system: str, what: str) -> bool:
    """Whether there is time for a piece, of which the user is told."""
    self._say(f"{system}, {what}")
    return self._clock.fits(f"{self._workload.corpus.name}: {system}, {what}")

  def _train(self, closer: bool) -> None:
    corpus = self._workload.corpus
    trainings: dict[str, dict[str, training.Training]] = {}
    sides: Sides = {}
    for system, run in self._runs.items():
      if self._fits(system, "training"):
        with self._clock.piece():
          trainings[system] = {
            name: training.Training(part, corpus.train)
            for name, part in run.parts.items()
          }
          sides[system] = {
            name: each.side() for name, each in trainings[system].items()
          }
    self._add_torch("training", sides, self._torch_training)
    steps = self._take_turns("train", sides, corpus.train)
    if closer:
      features = {
        system: self._parts(system, tasks, steps[system])
        for system, tasks in trainings.items()
      }
      if features.get(figures.OURS):
        weighted = figures.weighted_token_ratios(sides, features)
        self.report["weighted_token_ratios"] = {"train": weighted}
    for tasks in trainings.values():
      for each in tasks.values():
        each.close()

  def _parts(
    self,
    system: str,
    tasks: Mapping[str, training.Training],
    steps: Mapping[str, float],
  ) -> dict[str, float]:
    """Measures the parts of steps; the share of the features in each task's."""
    shares = {}
    for name, each in tasks.items():
      if not self._fits(system, f"parts of a step of the {name}"):
        continue
      keep = self._settings.profile
      folder = keep / system / name if keep else None
      with self._clock.piece():
        found = parts.measure(each, steps[name], folder)
      self.report.setdefault("parts", {}).setdefault(system, {})[name] = found
      taken = sum(found["parts"].get(p, 0.0) for p in parts.FEATURES)
      shares[name] = taken / found["step_s"]
    return shares

  def _tag(self, closer: bool) -> None:
    phases = self._settings.phases
    made: dict[str, tagging.Tagging] = {}
    for system, run in self._runs.items():
      if self._fits(system, "tagging"):
        ours = closer and system == figures.OURS
        model = self._settings.model if ours else None
        with self._clock.piece():
          made[system] = tagging.Tagging(run, self._texts, model)
    if "inference" in phases and made:
      count = self._texts_a_turn(made)
      sides: Sides = {
        system: {system: each.side(count)} for system, each in made.items()
      }
      self._add_torch(
        "tagging", sides, lambda: self._torch_tagging(self._texts[:count])
      )
      if closer:
        self.report["workload"]["inference_sentences"] = count
      self._take_turns("inference", sides, self._workload.corpus.test[:count])
    if closer and "latency" in phases:
      for system, each in made.items():
        if self._fits(system, "latency"):
          seconds = self._clock.share(self._settings.seconds)
          with self._clock.piece():
            found = latency.measure(each.ner, self._texts, seconds / 3)
          self._of(system)["latency"] = found

  def _texts_a_turn(self, made: Mapping[str, tagging.Tagging]) -> int:
    """As many as let all of them have their turns in time."""
    round_seconds = self._clock.share(self._settings.seconds) / LEAST_TURNS
    seconds = sum(each.seconds_a_text() for each in made.values())
    count = max(int(round_seconds / seconds), _LEAST_TEXTS)
    return min(count, len(self._texts))

  def _of(self, system: str) -> Json:
    """The report's part of a system."""
    return self.report["systems"].setdefault(system, {})

  def _add_torch(
    self, what: str, sides: Sides, make: Callable[[], Side]
  ) -> None:
    """Adds the plain tagger to the sides, if it is wanted and there is one."""
    if TORCH in self._settings.systems and self._fits(TORCH, what):
      try:
        with self._clock.piece():
          sides[TORCH] = {TORCH: make()}
      except ImportError:
        self._clock.left_out.append(
          f"{self._workload.corpus.name}: {TORCH}, {what}: torch is not "
          "installed"
        )

  def _torch_training(self) -> Side:
    run = self._first
    tasks = {name: part.task for name, part in run.parts.items()}
    part = run.parts[run.kind.detection_task]
    return training.plain_tagger(
      part, run.kind.detection(tasks), self._workload.corpus.train
    )

  def _torch_tagging(self, texts: Sequence[str | Sequence[str]]) -> Side:
    part = next(iter(self._first.parts.values()))
    plain = [
      text if isinstance(text, str) else " ".join(text) for text in texts
    ]
    labels = 1 + 2 * len(self._workload.corpus.types)
    return tagging.torch_pipeline(part, plain, labels)

  def _take_turns(
    self, phase: str, sides: Sides, sentences: Sequence[Sentence]
  ) -> dict[str, dict[str, float]]:
    """Measures the sides of a phase; seconds of a step of each task."""
    self._say(f"{phase}, taking turns")
    if not sides:
      return {}
    acts: dict[tuple[str, str], Callable[[], object]] = {
      (system, task): side.act
      for system, tasks in sides.items()
      for task, side in tasks.items()
    }
    acts["", "product"] = self._product.act
    taken = take_turns(acts, self._clock.share(self._settings.seconds))
    tokens, passes = self._tokens(sentences), {}
    for system, tasks in sides.items():
      passes[system] = figures.pass_seconds(
        tasks, {task: taken[system, task] for task in tasks}
      )
      self._of(system)[phase] = figures.phase(
        tasks,
        passes[system],
        len(sentences),
        tokens,
        self._product.flops_per_s,
      )
    usual, quartiles = figures.ratios(passes)
    for key, found in (
      ("ratios", usual),
      ("ratio_quartiles", quartiles),
      ("token_ratios", figures.token_ratios(sides)),
    ):
      if found:
        self.report.setdefault(key, {})[phase] = found
    return {
      system: {
        task: float(np.median(taken[system, task])) / side.steps
        for task, side in tasks.items()
      }
      for system, tasks in sides.items()
    }


def _experiment(workload: Workload, system: str) -> Experiment:
  """A system for a workload."""
  config = ConfigDict(workload.config)
  config.system = figures.OURS
  config.update_from_flattened_dict(VARIANTS.get(system, {}))
  return prepare(config, workload.corpus)
