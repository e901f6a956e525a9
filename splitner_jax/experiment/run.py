"""One run: corpus, tasks, training, evaluation, report."""

import dataclasses
import logging
import pathlib
import shlex
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from splitner_jax.data import formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import TextStyle
from splitner_jax.evaluation import error_analysis
from splitner_jax.evaluation.thresholds import Target
from splitner_jax.experiment import (
  calibrate,
  evaluate,
  model_card,
  raw_text,
  report,
  seeds,
)
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import check_config, parse_seeds
from splitner_jax.experiment.task_specs import Experiment, TaskSpec, prepare
from splitner_jax.inference import model_folder, tuning
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inference.ner_model import NerModel, Predictor
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime import buckets, processes
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.runtime.files import make_folder
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import cross_fitting, loop

log = logging.getLogger(__name__)


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  mirror: buckets.Mirror = buckets.DISK,
) -> Json:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see `default_config`.
    workdir: for checkpoints, predictions, reports and the published model; of
      several seeds each has a folder there.
    mirror: of the workdir.

  Returns:
    What stands in WORKDIR/report.json.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  use_compilation_cache()
  corpus = load_corpus(config.data)
  content_hash = corpus.content_hash

  def run_one(config: ConfigDict, workdir: pathlib.Path) -> Json:
    experiment = prepare(config, corpus)
    with locked(config, workdir, content_hash, experiment.sources, mirror):
      return _run_one(config, experiment, workdir, mirror)

  if parse_seeds(config.seeds):
    sources = prepare(config, corpus).sources
    return seeds.run(config, workdir, content_hash, sources, run_one, mirror)
  return run_one(config, workdir)


def _run_one(
  config: ConfigDict,
  experiment: Experiment,
  workdir: pathlib.Path,
  mirror: buckets.Mirror,
) -> Json:
  corpus = experiment.corpus
  model, programs, progress = train(experiment, workdir, mirror)
  predictor = Predictor(model, programs, progress=True)

  result = report.start(config, corpus, progress)
  decoding = model.decoding
  tried = tuning.OUTSIDE_BIASES if config.tune_decoding else ()
  dev = evaluate.read(predictor, corpus.dev, [decoding.outside_bias, *tried])
  known = predictor.kind.type_logits(predictor.tasks, dev.reading, decoding)
  if known is not None:
    temperature, result["calibration"] = calibrate.calibrate(known)
    decoding = dataclasses.replace(decoding, temperature=temperature)
  if config.tune_decoding:
    decoding, result["decoding"] = _tune(predictor, dev, decoding)
  model = dataclasses.replace(model, decoding=decoding)

  predictions = workdir / "predictions"
  if processes.is_first():
    make_folder(predictions)
  for split in report.SPLITS:
    sentences = getattr(corpus, split)
    if not sentences:
      continue
    log.info("tagging %s", split)
    read = dev
    if split != "dev":
      read = evaluate.read(predictor, sentences, [decoding.outside_bias])
    result[split], predicted = evaluate.evaluate(predictor, read, decoding)
    if split == "test" and not model.reads_pos:
      ner = SplitNER(model, predictor=predictor)
      result[split]["raw_text"] = raw_text.score(ner, sentences)
    if split == "test" and known is not None:
      result["calibration"]["entity_score_on_test"] = calibrate.score_errors(
        predictor, read.reading, decoding, sentences
      )
    errors = error_analysis.analyse(corpus.train, sentences, predicted)
    # Reports are published: no sentence of the corpus belongs there.
    result[split]["errors"] = error_analysis.without_examples(errors)
    if not processes.is_first():
      continue
    error_analysis.write(errors, workdir, split)
    stem = predictions / split
    formats.write_columns(stem.with_suffix(".tsv"), sentences, predicted)
    formats.write_jsonl(stem.with_suffix(".jsonl"), sentences, predicted)
  command = ["splitner", "train", *sys.argv[1:]]
  card = model_card.card(result, shlex.join(command))

  def write() -> None:
    model_folder.save(workdir / "model", dataclasses.replace(model, card=card))
    report.write(result, workdir)
    print(report.table(result))
    mirror.send()
    place = mirror.place(workdir)
    print(f"\nreport: {place / 'report.md'}\nmodel: {place / 'model'}")

  processes.by_first(write)
  return result


def _tune(
  predictor: Predictor, dev: evaluate.Split, decoding: Decoding
) -> tuple[Decoding, Json]:
  """Chooses a decoding by F1 on dev; and what `report.json` says of it."""
  tuned = tuning.tune(
    predictor,
    dev.sentences,
    Target("f1"),
    tuning.OUTSIDE_BIASES,
    tuning.LEAST_SCORES,
    own=decoding,
    reading=dev.reading,
  )
  chosen = tuned.decoding
  found = {
    "o_bias": chosen.outside_bias,
    "min_score": chosen.thresholds.default,
    "f1": tuned.matched.counts(chosen.thresholds).f1,
    "f1_before": tuned.before.counts().f1,
  }
  log.info(
    "o_bias %(o_bias)g, least score %(min_score)g: dev F1 %(f1).2f, "
    "%(f1_before).2f before",
    found,
  )
  return chosen, found


def train(
  experiment: Experiment,
  workdir: pathlib.Path,
  mirror: buckets.Mirror = buckets.DISK,
) -> tuple[NerModel, dict[str, Programs], Json]:
  """Trains the tasks of a system that are not trained yet.

  Returns:
    The model, the programs of its tasks, and of each what `loop.train` says.
  """
  corpus, kind = experiment.corpus, experiment.kind
  parts = experiment.parts
  made = {name: part.task for name, part in parts.items()}
  progress: Json = {}
  params: Json = {}

  def trained(
    part: TaskSpec,
    sentences: Sequence[Sentence],
    dev: Sequence[Sentence],
    folder: str,
  ) -> Tree:
    """The parameters of a task, trained if need be."""
    result, progress[folder] = loop.train(
      part.programs,
      part.settings,
      (sentences, dev),
      part.fill,
      workdir / folder,
      part.decoding,
      mirror,
    )
    return result

  cross_fitting.check_folds(
    [p.settings.folds for p in parts.values() if p.settings.get("none_class")],
    corpus.train,
  )
  for name, part in parts.items():
    sentences: Sequence[Sentence] = corpus.train
    dev: Sequence[Sentence] = corpus.dev
    if part.settings.get("none_class"):
      detector, task = parts[kind.detection_task], kind.detection(made)
      bias = detector.decoding.outside_bias

      def train_fold(
        rows: Sequence[Sentence], fold: int, part: TaskSpec = detector
      ) -> Forward:
        folder = f"detector-fold{fold}"
        found = trained(part, rows, corpus.dev, folder)
        return Forward(part.programs, found, progress=True)

      sentences = cross_fitting.cross_fitted(
        corpus.train, part.settings.folds, task, train_fold, bias
      )
      forward = Forward(
        detector.programs, params[kind.detection_task], progress=True
      )
      dev = cross_fitting.with_false_spans(task, forward, corpus.dev, bias)
    params[name] = trained(part, sentences, dev, name)
  model = NerModel(
    kind,
    made,
    params,
    parts[kind.detection_task].decoding,
    TextStyle.of([s.words for s in corpus.train]),
  )
  return model, {n: part.programs for n, part in parts.items()}, progress
