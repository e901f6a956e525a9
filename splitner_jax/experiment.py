"""One run: corpus, tasks, training, evaluation, report."""

import dataclasses
import functools
import logging
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from splitner_jax import (
  calibration,
  error_report,
  evaluate,
  joining,
  model_card,
  model_folder,
  pretrained,
  report,
  seeds,
  tasks,
  train,
)
from splitner_jax.data import check, corpora, formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import TextStyle
from splitner_jax.errors import UserError
from splitner_jax.forward import Forward, Programs
from splitner_jax.inputs import questions
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.runtime import compute_dtype, use_compilation_cache
from splitner_jax.settings import (
  check_config,
  parse_seeds,
  task_settings,
)
from splitner_jax.systems import SYSTEMS, SplitNER, System, task_names
from splitner_jax.tasks.from_settings import pos_tags
from splitner_jax.trained import TrainedSystem
from splitner_jax.workdir import claimed

log = logging.getLogger(__name__)


def load_corpus(data: ConfigDict) -> corpora.Corpus:
  """What `config.data` describes: a corpus by its name, or files; or a part.

  Raises:
    UserError: see `corpora.load` and `corpora.from_files`.
  """
  if data.name == "files":
    corpus = corpora.from_files(
      data.train,
      data.dev,
      data.test,
      dev_fraction=data.dev_fraction,
      tag_column=data.tag_column,
      word_column=data.word_column,
      pos_column=data.pos_column,
    )
  else:
    corpus = corpora.load(data.name, data.dir)
  return corpus.limited(data.limit) if data.limit else corpus


def check_data(config: ConfigDict) -> str:
  """Reads the corpus and says what is in it; see `data.check`."""
  data = config.data
  return check.check(
    load_corpus(data),
    tag_column=data.tag_column,
    word_column=data.word_column,
  )


@dataclasses.dataclass(frozen=True)
class Part:
  """A task of an experiment with all that it is trained from.

  Attributes:
    settings: its part of the config, common fields filled in.
    backbone: where its first weights are.
    programs: the same for evaluation in training and afterwards.
  """

  task: Any
  settings: ConfigDict
  backbone: pretrained.Backbone

  @functools.cached_property
  def programs(self) -> Programs:
    return Programs(self.task, self.settings.inference_batch_size)

  def fill(self, params: Any) -> Any:
    """Puts the backbone's, or the checkpoint's, weights into `params`."""
    whole = self.settings.checkpoint is not None
    return pretrained.fill(params, self.backbone.folder, complete=whole)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a config describes.

  Attributes:
    corpus: the sentences.
    kind: the system's key in `systems.SYSTEMS`.
    parts: its tasks, by name.
  """

  corpus: corpora.Corpus
  kind: str
  parts: dict[str, Part]


def _backbone(settings: ConfigDict) -> tuple[pretrained.Backbone, Tokenizer]:
  """The encoder's sizes and the tokenizer, as the settings want them."""
  dtype = compute_dtype(settings.compute_dtype)
  name = settings.checkpoint or settings.backbone
  backbone = pretrained.read_backbone(pretrained.resolve(name), dtype=dtype)
  encoder = dataclasses.replace(
    backbone.encoder,
    hidden_dropout=settings.dropout,
    attention_dropout=settings.dropout,
  )
  if settings.max_length > encoder.max_length:
    raise UserError(
      f"config.max_length: {settings.max_length} is more than the "
      f"{encoder.max_length} that {name} can read"
    )
  tokenizer = Tokenizer(
    backbone.folder,
    backbone.is_roberta,
    settings.max_length,
    reference=settings.checkpoint is not None,
  )
  return dataclasses.replace(backbone, encoder=encoder), tokenizer


def _part(config: ConfigDict, name: str, corpus: corpora.Corpus) -> Part:
  """A task, as its part of the config describes it."""
  settings = task_settings(config, name)
  backbone, tokenizer = _backbone(settings)
  given = settings, backbone.encoder, tokenizer
  head = pretrained.read_head(backbone.folder) if settings.checkpoint else None
  tags = pos_tags(corpus.train)
  task: tasks.AnyTask
  if name == "detector":
    task = tasks.span_detection(*given, head, tags)
    return Part(task, settings, backbone)
  types: Sequence[str] = corpus.types
  if settings.checkpoint:
    types = _checkpoint_types(settings, backbone, name, corpus.types)
  if name == "classifier":
    task = tasks.span_classification(*given, types)
  elif config.system == "single_seqtag":
    task = tasks.sequence_tagging(*given, types, head, tags)
  else:
    names = questions.parse_type_names(config.data.type_names)
    task = tasks.type_questions(*given, types, names, head, tags)
  return Part(task, settings, backbone)


def _checkpoint_types(
  settings: ConfigDict,
  backbone: pretrained.Backbone,
  name: str,
  wanted: Sequence[str],
) -> Sequence[str]:
  """The entity types of a checkpoint, in its order."""
  given = [label for label in settings.labels.split(",") if label]
  types: Sequence[str] = given
  if name == "classifier":
    num_labels = pretrained.read_head(backbone.folder).num_labels
    types = pretrained.entity_types(backbone.folder, num_labels, given)
  elif not given:
    raise UserError(
      f"config.{name}.labels: not set; name the checkpoint's entity types in "
      "their order, A,B,..."
    )
  unknown = sorted(set(wanted) - set(types))
  if unknown:
    raise UserError(
      f"config.{name}.checkpoint: knows {', '.join(types)}, but the "
      f"corpus has {', '.join(unknown)}; name its types by the corpus's "
      f"names with --config.{name}.labels=A,B,..."
    )
  return types


def prepare(
  config: ConfigDict, corpus: corpora.Corpus | None = None
) -> Experiment:
  """Makes the tasks; nothing is trained or written.

  Args:
    config: see configs/common.py.
    corpus: what `config.data` describes, if it is loaded already.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  corpus = corpus or load_corpus(config.data)
  log.info("%s", corpus.describe())
  return Experiment(
    corpus,
    config.system,
    {name: _part(config, name, corpus) for name in task_names(config.system)},
  )


def run(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see configs/common.py.
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
    system, result["calibration"] = calibration.calibrate(system, corpus.dev)
  if config.tune_decoding:
    system, result["decoding"] = joining.tune_decoding(system, corpus.dev)

  (workdir / "predictions").mkdir(exist_ok=True)
  for split, sentences in (("dev", corpus.dev), ("test", corpus.test)):
    if not sentences:
      continue
    log.info("tagging %s", split)
    result[split], predicted = evaluate.evaluate(system, sentences)
    if split == "test" and isinstance(system, SplitNER):
      result["calibration"]["entity_score_on_test"] = calibration.score_errors(
        system, sentences, predicted
      )
    errors = error_report.analyse(corpus.train, sentences, predicted)
    error_report.write(errors, workdir, split)
    # Reports are published: no sentence of the corpus belongs there.
    result[split]["errors"] = error_report.without_examples(errors)
    stem = workdir / "predictions" / split
    formats.write_columns(stem.with_suffix(".tsv"), sentences, predicted)
    formats.write_jsonl(stem.with_suffix(".jsonl"), sentences, predicted)
  command = ["python", "-m", "splitner_jax.main", *sys.argv[1:]]
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
    The system, and of each task what `train.train` says.
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
    params, progress[folder] = train.train(
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

      sentences = joining.cross_fitted(
        corpus.train, part.settings.folds, train_fold
      )
      dev = joining.with_false_spans(
        detector.task, fields["run_detector"], corpus.dev
      )
    fields[name] = part.task
    fields[f"run_{name}"] = trained(part, sentences, dev, name)
  return SYSTEMS[experiment.kind](**fields), progress
