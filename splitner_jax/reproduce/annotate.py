"""What to annotate: `splitner suggest` against random choice.

launch/reproduce.sh annotate

begins with some sentences drawn at random, trains, and adds as many again and
again: those of which the model is least sure, or random ones. Each time a new
model is trained from the backbone. A strategy with a seed is independent of
the others, so that processes can share the work: `annotate mean --seeds=1`.
"""

import json
import logging
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
import tqdm

from splitner_jax.data.corpora import Corpus
from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment import calibrate, evaluate, task_specs
from splitner_jax.experiment.report import machine
from splitner_jax.experiment.run_folder import locked
from splitner_jax.inference.ner_model import NerModel, Predictor
from splitner_jax.inference.suggesting import uncertainty
from splitner_jax.reproduce import annotate_page, runs
from splitner_jax.reproduce.annotate_page import RANDOM, STRATEGIES
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import loop

log = logging.getLogger(__name__)

_DEV_SENTENCES = 100  # Whoever annotates few sentences has no large dev split.
_SCORES = {
  "f1": "all_sentences",
  "detection": "detection",
  "classification": "classification_on_gold",
}


def run(
  results: pathlib.Path,
  workdir: pathlib.Path,
  *,
  strategies: Sequence[str] = STRATEGIES,
  seeds: Sequence[int] = (1, 2, 3),
  train: bool = True,
  dataset: str = "bionlp13cg",
  backbone: str = "minilm",
  epochs: int = 10,
  learning_rate: float = 3e-4,
  step: int = 100,
  most: int = 300,
) -> pathlib.Path:
  """Makes the curves that are not there yet, and the page after each round.

  Args:
    results: gets annotate.md, annotate.png, and
      runs/annotate/STRATEGY/seed-N/report.json.
    workdir: for checkpoints.
    strategies: some of STRATEGIES.
    seeds: each draws the first sentences, and trains.
    train: whether to; if not, the page is of what there is.
    dataset: the name of its config.
    backbone, epochs, learning_rate: as in the config.
    step: sentences of the first round, and that each further one adds.
    most: sentences of the last round.

  Raises:
    UserError: there is no such strategy, data set, data or backbone, or there
      are reports of other settings.
  """
  for strategy in strategies:
    if strategy not in STRATEGIES:
      raise UserError(
        f"{strategy}: no strategy of this name; there are "
        f"{', '.join(STRATEGIES)}"
      )
  budget = runs.Budget(
    dataset, backbone, epochs, learning_rate, tuple(seeds), results, workdir
  )
  settings = {
    "dataset": dataset,
    "backbone": budget.backbone_name,
    "epochs": epochs,
    "learning_rate": learning_rate,
    "dev_sentences": _DEV_SENTENCES,
    "step": step,
    "most": most,
  }
  if train:
    for strategy in strategies:
      for seed in seeds:
        _make(budget, settings, strategy, seed)
  return annotate_page.write(results, settings)


def _make(
  budget: runs.Budget, settings: Json, strategy: str, seed: int
) -> None:
  """Makes the rounds of a curve that are missing, and a page after each."""
  path = annotate_page.path_of(budget.results, strategy, seed)
  report = annotate_page.read(path, settings)
  sizes = annotate_page.sizes(settings)
  if report and len(report["rounds"]) == len(sizes):
    return
  config = runs.config_of(budget, "qa_qa", seed)
  # The rate falls to 0 in as many steps, whatever dev says of the beginning.
  config.patience = config.epochs
  use_compilation_cache()
  experiment = task_specs.prepare(config)
  corpus = experiment.corpus
  if settings["most"] > len(corpus.train):
    raise UserError(
      f"{settings['dataset']}: has {len(corpus.train)} training sentences, "
      f"fewer than {settings['most']}"
    )
  order = np.random.default_rng(seed).permutation(len(corpus.train)).tolist()
  report = report or {
    "settings": settings,
    "content_hash": corpus.content_hash,
    "strategy": strategy,
    "seed": seed,
    "rounds": [],
    # Indices of training sentences: those of the coming round, at the end.
    "chosen": order[: settings["step"]],
  }
  if report["content_hash"] != corpus.content_hash:
    raise UserError(
      f"{path}: is of other data (content {report['content_hash']}) than this "
      f"(content {corpus.content_hash}); delete it"
    )
  folder = budget.workdirs / "annotate" / strategy / f"seed-{seed}"
  path.parent.mkdir(parents=True, exist_ok=True)
  with locked(config, folder, corpus.content_hash, experiment.sources):
    for size in tqdm.tqdm(
      sizes[len(report["rounds"]) :], desc=f"{strategy} {seed}", unit="round"
    ):
      log.info("%s, seed %d: %d sentences", strategy, seed, size)
      chosen = report["chosen"]
      sentences = [corpus.train[i] for i in sorted(chosen)]
      predictor = _train(experiment, sentences, _dev(corpus), folder, size)
      report["rounds"].append(_score(predictor, corpus.test, sentences))
      if size < settings["most"]:
        report["chosen"] = chosen + _choose(
          predictor, corpus.train, chosen, order, strategy, settings["step"]
        )
      report["machine"] = machine()
      atomic_write(path, [json.dumps(report), "\n"])
      # Of many rounds the checkpoints would fill a disk.
      for part in folder.glob(f"*-{size}"):
        shutil.rmtree(part)
      annotate_page.write(budget.results, settings)


def _dev(corpus: Corpus) -> list[Sentence]:
  """The same sentences for all."""
  order = np.random.default_rng(0).permutation(len(corpus.dev)).tolist()
  return [corpus.dev[i] for i in sorted(order[:_DEV_SENTENCES])]


def _train(
  experiment: task_specs.Experiment,
  sentences: Sequence[Sentence],
  dev: Sequence[Sentence],
  folder: pathlib.Path,
  size: int,
) -> Predictor:
  """A model of these sentences, calibrated as training does it."""
  params = {}
  for name, part in experiment.parts.items():
    params[name], _ = loop.train(
      part.programs,
      part.settings,
      (sentences, dev),
      part.fill,
      folder / f"{name}-{size}",
      part.decoding,
    )
  tasks = {name: part.task for name, part in experiment.parts.items()}
  programs = {name: part.programs for name, part in experiment.parts.items()}
  model = NerModel(experiment.kind, tasks, params)
  predictor = Predictor(model, programs, progress=True)
  known = model.kind.type_logits(tasks, predictor.read(dev), model.decoding)
  if known is not None:
    temperature, _ = calibrate.calibrate(known)
    predictor.decoding = Decoding(temperature=temperature)
  return predictor


def _score(
  predictor: Predictor,
  test: Sequence[Sentence],
  sentences: Sequence[Sentence],
) -> Json:
  """A round of a report."""
  decoding = predictor.decoding
  read = evaluate.read(predictor, test, [decoding.outside_bias])
  scores, _ = evaluate.evaluate(predictor, read, decoding)
  return {
    "sentences": len(sentences),
    "words": sum(len(s.words) for s in sentences),
    "mentions": sum(len(s.spans) for s in sentences),
    "types": len({span.label for s in sentences for span in s.spans}),
    **{name: scores[key]["f1"] for name, key in _SCORES.items()},
  }


def _choose(
  predictor: Predictor,
  train: Sequence[Sentence],
  chosen: Sequence[int],
  order: Sequence[int],
  strategy: str,
  count: int,
) -> list[int]:
  """Which training sentences are added, by their indices.

  Args:
    predictor: of the model so far.
    train: all sentences.
    chosen: those that are annotated.
    order: of all of them, random.
    strategy: one of STRATEGIES.
    count: how many.
  """
  known = set(chosen)
  # Of equals, the first in the random order.
  rest = [i for i in order if i not in known]
  if strategy != RANDOM:
    # No more than their words is known of them.
    texts = [Sentence(train[i].words, pos=train[i].pos) for i in rest]
    unsure = {
      i: uncertainty(decisions, len(train[i].words), strategy)
      for i, decisions in zip(rest, predictor.decisions(texts), strict=True)
    }
    rest.sort(key=lambda i: -unsure[i])
  return rest[:count]
