"""One run: corpus, tasks, training, evaluation, report."""

import dataclasses
import functools
import json
import logging
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any, Generic, NoReturn, TypeVar

from ml_collections import ConfigDict

from splitner_jax import (
  calibration,
  evaluate,
  model_card,
  model_folder,
  pretrained,
  report,
  tasks,
  train,
)
from splitner_jax.data import check, corpora, formats
from splitner_jax.data.examples import Tokenizer
from splitner_jax.data.lines import write_whole
from splitner_jax.data.text import TextStyle
from splitner_jax.errors import UserError
from splitner_jax.forward import Forward
from splitner_jax.runtime import compute_dtype, use_compilation_cache
from splitner_jax.systems import SplitNER
from splitner_jax.trained import TrainedSystem

log = logging.getLogger(__name__)

T = TypeVar("T")

# What may differ between two runs of the same command in one workdir.
_FREE_FIELDS = ("checkpoint_every",)

# The least that a field may be, at the top level and in the tasks' parts.
_LEAST = {
  "batch_size": 1,
  "epochs": 0,
  "patience": 1,
  "weight_decay": 0,
  "inference_batch_size": 1,
  "checkpoint_every": 1,
  "seed": 0,
}


def task_settings(config: ConfigDict, name: str) -> ConfigDict:
  """A task's part of the config; what it leaves open is the top level's."""
  settings = ConfigDict(
    {
      key: value
      for key, value in config.items()
      if not isinstance(value, ConfigDict)
    }
  )
  for key, value in config[name].items():
    if value is not None or key not in settings:
      settings[key] = value
  return settings


def check_config(config: ConfigDict) -> None:
  """Raises UserError for values that no run can have."""
  for name in ("detector", "classifier"):
    settings = task_settings(config, name)

    def refuse(key: str, why: str, name=name, settings=settings) -> NoReturn:
      own = config[name].get(key) is not None
      field = f"config.{name}.{key}" if own else f"config.{key}"
      raise UserError(f"{field}: {settings[key]} is {why}")

    for key, least in _LEAST.items():
      if not settings[key] >= least:
        refuse(key, f"below the least, {least}")
    for key in ("learning_rate", "clip_norm"):
      if not settings[key] > 0:
        refuse(key, "not positive")
    if not 0 <= settings.dropout < 1:
      refuse("dropout", "not in [0, 1)")
  if config.classifier.context < 1:
    raise UserError(
      f"config.classifier.context: {config.classifier.context} is below 1"
    )


def claim_workdir(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Writes WORKDIR/config.json, or checks that it is of the same config.

  A start that failed before its first checkpoint binds nobody.
  """
  mine = json.loads(config.to_json_best_effort())
  path = workdir / "config.json"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    theirs = json.loads(path.read_bytes()) if path.exists() else mine
    there, here = _flat(theirs), _flat(mine)
  except OSError as e:
    raise UserError(
      f"--workdir {workdir}: cannot be written ({e.strerror}); choose another"
    ) from e
  except (AttributeError, ValueError) as e:
    raise UserError(
      f"{path}: is not a config; delete it, or choose another --workdir"
    ) from e
  begun = any(workdir.glob("*/checkpoints/latest/[0-9]*"))
  # Other keys: the config.json of some other program.
  if begun or theirs.keys() != mine.keys():
    for key in sorted(there.keys() | here.keys()):
      if key not in _FREE_FIELDS and there.get(key) != here.get(key):
        raise UserError(
          f"--workdir {workdir}: holds a run of another config ({key} is "
          f"{there.get(key)!r} there, {here.get(key)!r} here); choose another "
          "--workdir, or delete it"
        )
  write_whole(path, [json.dumps(mine, indent=2), "\n"])


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def load_corpus(data: ConfigDict) -> corpora.Corpus:
  """The corpus that `config.data` names, or the files that it lists.

  Raises:
    UserError: see `corpora.load` and `corpora.from_files`.
  """
  if data.name == "files":
    return corpora.from_files(
      data.train,
      data.dev,
      data.test,
      dev_fraction=data.dev_fraction,
      tag_column=data.tag_column,
      word_column=data.word_column,
    )
  return corpora.load(data.name, data.dir)


def check_data(config: ConfigDict) -> str:
  """Reads the corpus and says what is in it; see `data.check`."""
  data = config.data
  return check.check(
    load_corpus(data),
    tag_column=data.tag_column,
    word_column=data.word_column,
  )


@dataclasses.dataclass(frozen=True)
class Part(Generic[T]):
  """A task of an experiment with all that it is trained from.

  Attributes:
    settings: its part of the config, common fields filled in.
    backbone: where its first weights are.
  """

  task: T
  settings: ConfigDict
  backbone: pretrained.Backbone

  def fill(self, params: Any) -> Any:
    """Puts the backbone's, or the checkpoint's, weights into `params`."""
    whole = self.settings.checkpoint is not None
    return pretrained.fill(params, self.backbone.folder, complete=whole)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a config describes."""

  corpus: corpora.Corpus
  detector: Part[tasks.TokenTask]
  classifier: Part[tasks.MentionTask]


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


def _detector(config: ConfigDict) -> Part[tasks.TokenTask]:
  settings = task_settings(config, "detector")
  backbone, tokenizer = _backbone(settings)
  head = pretrained.read_head(backbone.folder) if settings.checkpoint else None
  task = tasks.span_detection(settings, backbone.encoder, tokenizer, head)
  return Part(task, settings, backbone)


def _classifier(
  config: ConfigDict, types: Sequence[str]
) -> Part[tasks.MentionTask]:
  """The classifier of a corpus with these entity types."""
  settings = task_settings(config, "classifier")
  backbone, tokenizer = _backbone(settings)
  if settings.checkpoint:
    labels = pretrained.entity_types(
      backbone.folder,
      pretrained.read_head(backbone.folder).num_labels,
      [name for name in settings.labels.split(",") if name],
    )
    unknown = sorted(set(types) - set(labels))
    if unknown:
      raise UserError(
        f"config.classifier.checkpoint: knows {', '.join(labels)}, but the "
        f"corpus has {', '.join(unknown)}; name its types by the corpus's "
        "names with --config.classifier.labels=A,B,..."
      )
    types = labels
  task = tasks.span_classification(settings, backbone.encoder, tokenizer, types)
  return Part(task, settings, backbone)


def prepare(config: ConfigDict) -> Experiment:
  """Loads the corpus and makes the tasks; nothing is trained or written.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  corpus = load_corpus(config.data)
  log.info("%s", corpus.describe())

  return Experiment(
    corpus, _detector(config), _classifier(config, corpus.types)
  )


def run(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see configs/common.py.
    workdir: for checkpoints, predictions, reports and the published model.

  Returns:
    What stands in WORKDIR/report.json.

  Raises:
    UserError: for anything that the user can mend.
  """
  use_compilation_cache()
  experiment = prepare(config)
  corpus = experiment.corpus
  claim_workdir(config, workdir)
  progress: dict[str, Any] = {}

  def trained(part: Part[Any]) -> tasks.Run:
    """The forward pass of a task, trained if need be."""
    task, settings = part.task, part.settings
    params, progress[task.name] = train.train(
      task,
      settings,
      (corpus.train, corpus.dev),
      part.fill,
      workdir / task.name,
    )
    forward = Forward(task, settings.inference_batch_size)
    return functools.partial(forward, params)

  system = SplitNER(
    experiment.detector.task,
    experiment.classifier.task,
    trained(experiment.detector),
    trained(experiment.classifier),
  )

  system, calibrated = calibration.calibrate(system, corpus.dev)

  result = report.start(config, corpus, progress)
  result["calibration"] = calibrated
  (workdir / "predictions").mkdir(exist_ok=True)
  for split, sentences in (("dev", corpus.dev), ("test", corpus.test)):
    if not sentences:
      continue
    log.info("tagging %s", split)
    result[split], predicted = evaluate.evaluate(system, sentences)
    if split == "test":
      calibrated["entity_score_on_test"] = calibration.score_errors(
        system, sentences, predicted
      )
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
