"""One run: corpus, tasks, training, evaluation, report."""

import logging
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from splitner_jax import tasks
from splitner_jax.data import formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import TextStyle
from splitner_jax.evaluation import error_analysis
from splitner_jax.experiment import (
  calibrate,
  evaluate,
  model_card,
  report,
  seeds,
)
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.run_folder import claimed
from splitner_jax.experiment.settings import check_config, parse_seeds
from splitner_jax.experiment.task_specs import Experiment, Part, prepare
from splitner_jax.inference import decoding, model_folder
from splitner_jax.inference.forward import Forward
from splitner_jax.inference.ner_model import TrainedSystem
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.tasks.systems import SYSTEMS, SplitNER, System
from splitner_jax.training import cross_fitting, loop

log = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see `default_config`.
    workdir: for checkpoints, predictions, reports and the published model; of
      several seeds each has a folder there.

  Returns:
    What stands in WORKDIR/report.json.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  use_compilation_cache()
  corpus = load_corpus(config.data)
  content_hash = corpus.content_hash

  def run_one(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    experiment = prepare(config, corpus)
    with claimed(config, workdir, content_hash):
      return _run_one(config, experiment, workdir)

  if parse_seeds(config.seeds):
    return seeds.run(config, workdir, content_hash, run_one)
  return run_one(config, workdir)


def _run_one(
  config: ConfigDict, experiment: Experiment, workdir: pathlib.Path
) -> dict[str, Any]:
  corpus = experiment.corpus
  system, progress = _train(experiment, workdir)

  result = report.start(config, corpus, progress)
  if isinstance(system, SplitNER):
    system, result["calibration"] = calibrate.calibrate(system, corpus.dev)
  if config.tune_decoding:
    system, result["decoding"] = decoding.tune_decoding(system, corpus.dev)

  (workdir / "predictions").mkdir(exist_ok=True)
  for split, sentences in (("dev", corpus.dev), ("test", corpus.test)):
    if not sentences:
      continue
    log.info("tagging %s", split)
    result[split], predicted = evaluate.evaluate(system, sentences)
    if split == "test" and isinstance(system, SplitNER):
      result["calibration"]["entity_score_on_test"] = calibrate.score_errors(
        system, sentences, predicted
      )
    errors = error_analysis.analyse(corpus.train, sentences, predicted)
    error_analysis.write(errors, workdir, split)
    # Reports are published: no sentence of the corpus belongs there.
    result[split]["errors"] = error_analysis.without_examples(errors)
    stem = workdir / "predictions" / split
    formats.write_columns(stem.with_suffix(".tsv"), sentences, predicted)
    formats.write_jsonl(stem.with_suffix(".jsonl"), sentences, predicted)
  command = ["splitner", "train", *sys.argv[1:]]
  model_folder.save(
    workdir / "model",
    TrainedSystem.of(
      system,
      text_style=TextStyle.of([s.words for s in corpus.train]),
      card=model_card.card(result, shlex.join(command)),
    ),
  )
  report.write(result, workdir)
  print(report.table(result))
  print(f"\nreport: {workdir / 'report.md'}\nmodel: {workdir / 'model'}")
  return result


def _train(
  experiment: Experiment, workdir: pathlib.Path
) -> tuple[System, dict[str, Any]]:
  """Trains the tasks of a system that are not trained yet.

  Returns:
    The system, and of each task what `loop.train` says.
  """
  corpus = experiment.corpus
  progress: dict[str, Any] = {}

  def trained(
    part: Part,
    sentences: Sequence[Sentence],
    dev: Sequence[Sentence],
    folder: str,
  ) -> tasks.Run:
    """The forward pass of a task, trained if need be."""
    params, progress[folder] = loop.train(
      part.programs,
      part.settings,
      (sentences, dev),
      part.fill,
      workdir / folder,
    )
    return Forward(part.programs, params, progress=True)

  fields: dict[str, Any] = {}
  for name, part in experiment.parts.items():
    sentences: Sequence[Sentence] = corpus.train
    dev: Sequence[Sentence] = corpus.dev
    if part.settings.get("none_class"):
      detector = experiment.parts["detector"]

      def train_fold(rows: Sequence[Sentence], fold: int, part=detector):
        folder = f"detector-fold{fold}"
        return part.task, trained(part, rows, corpus.dev, folder)

      sentences = cross_fitting.cross_fitted(
        corpus.train, part.settings.folds, train_fold
      )
      dev = cross_fitting.with_false_spans(
        detector.task, fields["run_detector"], corpus.dev
      )
    fields[name] = part.task
    fields[f"run_{name}"] = trained(part, sentences, dev, name)
  return SYSTEMS[experiment.kind](**fields), progress
