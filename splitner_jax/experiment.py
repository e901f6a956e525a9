"""One run: corpus, tasks, training, evaluation, report."""

import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
from ml_collections import ConfigDict

from splitner_jax import evaluate, pretrained, report, tasks, train
from splitner_jax.data import check, corpora, formats
from splitner_jax.data.examples import Tokenizer
from splitner_jax.data.lines import write_whole
from splitner_jax.errors import UserError
from splitner_jax.forward import Forward
from splitner_jax.runtime import use_compilation_cache
from splitner_jax.systems import SplitNER

log = logging.getLogger(__name__)

T = TypeVar("T")

# What may differ between two runs of the same command in one workdir.
_FREE_FIELDS = ("checkpoint_every",)


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
    for key, lowest in {
      "batch_size": 1,
      "epochs": 0,
      "patience": 1,
      "inference_batch_size": 1,
      "checkpoint_every": 1,
      "seed": 0,
    }.items():
      if settings[key] < lowest:
        raise UserError(
          f"config.{key}: {settings[key]} is below the least, {lowest}"
        )
    if not settings.learning_rate > 0:
      raise UserError(
        f"config.learning_rate: {settings.learning_rate} is not positive"
      )
    if not 0 <= settings.dropout < 1:
      raise UserError(f"config.dropout: {settings.dropout} is not in [0, 1)")
  if config.classifier.context < 1:
    raise UserError(
      f"config.classifier.context: {config.classifier.context} is below 1"
    )


def claim_workdir(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Writes WORKDIR/config.json, or checks that it is of the same config."""
  mine = json.loads(config.to_json_best_effort())
  path = workdir / "config.json"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
      write_whole(path, [json.dumps(mine, indent=2), "\n"])
      return
    theirs = json.loads(path.read_text(encoding="utf-8"))
  except OSError as e:
    raise UserError(
      f"--workdir {workdir}: cannot be written ({e.strerror}); choose another"
    ) from e
  except ValueError as e:
    raise UserError(
      f"{path}: is not JSON; delete it, or choose another --workdir"
    ) from e
  there, here = _flat(theirs), _flat(mine)
  for key in sorted(there.keys() | here.keys()):
    if key not in _FREE_FIELDS and there.get(key) != here.get(key):
      raise UserError(
        f"--workdir {workdir}: holds a run of another config ({key} is "
        f"{there.get(key)!r} there, {here.get(key)!r} here); choose another "
        "--workdir, or delete it"
      )


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
    fill: puts the backbone's weights into fresh parameters.
  """

  task: T
  settings: ConfigDict
  backbone: pretrained.Backbone
  fill: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a config describes."""

  corpus: corpora.Corpus
  detector: Part[tasks.TokenTask]
  classifier: Part[tasks.MentionTask]


def prepare(config: ConfigDict) -> Experiment:
  """Loads the corpus and makes the tasks; nothing is trained or written.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  corpus = load_corpus(config.data)
  log.info("%s", corpus.describe())

  def part(name: str, make: Callable[..., T], *more: Any) -> Part[T]:
    settings = task_settings(config, name)
    backbone, tokenizer = _backbone(settings)
    task = make(settings, backbone.encoder, tokenizer, *more)
    fill = functools.partial(pretrained.fill, folder=backbone.folder)
    return Part(task, settings, backbone, fill)

  return Experiment(
    corpus,
    part("detector", tasks.span_detection),
    part("classifier", tasks.span_classification, corpus.types),
  )


def _backbone(settings: ConfigDict) -> tuple[pretrained.Backbone, Tokenizer]:
  """The encoder's sizes and the tokenizer, as the settings want them."""
  dtype = settings.compute_dtype
  if dtype == "auto":
    on_cpu = jax.default_backend() == "cpu"
    dtype = "float32" if on_cpu else "bfloat16"
  if dtype not in ("float32", "bfloat16"):
    raise UserError(
      f"config.compute_dtype: {dtype!r} is none of auto, float32, bfloat16"
    )
  folder = pretrained.resolve(settings.backbone)
  backbone = pretrained.read_backbone(folder, dtype=dtype)
  encoder = dataclasses.replace(
    backbone.encoder,
    hidden_dropout=settings.dropout,
    attention_dropout=settings.dropout,
  )
  if settings.max_length > encoder.max_length:
    raise UserError(
      f"config.max_length: {settings.max_length} is more than the "
      f"{encoder.max_length} that {settings.backbone} can read"
    )
  tokenizer = Tokenizer(folder, backbone.is_roberta, settings.max_length)
  return dataclasses.replace(backbone, encoder=encoder), tokenizer


def run(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see configs/common.py.
    workdir: for checkpoints, predictions and reports.

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
    forward = Forward(
      task.model,
      task.features,
      task.tokenizer.pad_id,
      settings.inference_batch_size,
    )
    return functools.partial(forward, params)

  system = SplitNER(
    experiment.detector.task,
    experiment.classifier.task,
    trained(experiment.detector),
    trained(experiment.classifier),
  )

  result = report.start(config, corpus, progress)
  (workdir / "predictions").mkdir(exist_ok=True)
  for split, sentences in (("dev", corpus.dev), ("test", corpus.test)):
    if not sentences:
      continue
    log.info("tagging %s", split)
    result[split], predicted = evaluate.evaluate(system, sentences)
    stem = workdir / "predictions" / split
    formats.write_columns(stem.with_suffix(".tsv"), sentences, predicted)
    formats.write_jsonl(stem.with_suffix(".jsonl"), sentences, predicted)
  report.write(result, workdir)
  print(report.table(result))
  print(f"\nreport: {workdir / 'report.md'}")
  return result
