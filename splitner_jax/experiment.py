"""One run: corpus, tasks, training, evaluation, report."""

from collections.abc import Callable
import dataclasses
import functools
import json
import logging
import pathlib
from typing import Any

import jax
from ml_collections import config_dict

from splitner_jax import evaluate, pretrained, report, tasks, train
from splitner_jax.data import corpora, formats
from splitner_jax.data.examples import Tokenizer
from splitner_jax.errors import UserError
from splitner_jax.forward import Forward
from splitner_jax.runtime import use_compilation_cache
from splitner_jax.systems import SplitNER

log = logging.getLogger(__name__)

# What may differ between two runs of the same command in one workdir.
_FREE_FIELDS = ("checkpoint_every",)


def task_settings(config, name: str) -> config_dict.ConfigDict:
  """A task's part of the config; what it leaves open is the top level's."""
  settings = config_dict.ConfigDict(
    {
      key: value
      for key, value in config.items()
      if not isinstance(value, config_dict.ConfigDict)
    }
  )
  for key, value in config[name].items():
    if value is not None or key not in settings:
      settings[key] = value
  return settings


def check_config(config) -> None:
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
      raise UserError(
        f"config.dropout: {settings.dropout} is not in [0, 1)"
      )
  if config.classifier.context < 1:
    raise UserError(
      f"config.classifier.context: {config.classifier.context} is below 1"
    )


def claim_workdir(config, workdir: pathlib.Path) -> None:
  """Writes WORKDIR/config.json, or checks that it is of the same config."""
  mine = json.loads(config.to_json_best_effort())
  path = workdir / "config.json"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
      report.write_whole(path, json.dumps(mine, indent=2) + "\n")
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


def _backbone(settings) -> tuple[pretrained.Backbone, Tokenizer]:
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


def run(config, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains what is not trained yet, scores it, and writes the report.

  Args:
    config: see configs/common.py.
    workdir: for checkpoints, predictions and reports.

  Returns:
    What stands in WORKDIR/report.json.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  use_compilation_cache()
  corpus = corpora.load(config.data.name, config.data.dir)
  log.info("%s", corpus.describe())

  detector_settings = task_settings(config, "detector")
  classifier_settings = task_settings(config, "classifier")
  backbone, tokenizer = _backbone(detector_settings)
  detector = tasks.span_detection(
    detector_settings, backbone.encoder, tokenizer
  )
  fill_detector = functools.partial(pretrained.fill, folder=backbone.folder)
  backbone, tokenizer = _backbone(classifier_settings)
  classifier = tasks.span_classification(
    classifier_settings, backbone.encoder, tokenizer, corpus.types
  )
  fill_classifier = functools.partial(pretrained.fill, folder=backbone.folder)
  claim_workdir(config, workdir)

  progress: dict[str, Any] = {}

  def trained(
    task: tasks.Task, settings, fill: Callable[[Any], Any]
  ) -> tasks.Run:
    params, progress[task.name] = train.train(
      task, settings, (corpus.train, corpus.dev), fill, workdir / task.name
    )
    forward = Forward(
      task.model,
      task.features,
      task.tokenizer.pad_id,
      settings.inference_batch_size,
    )
    return functools.partial(forward, params)

  system = SplitNER(
    detector,
    classifier,
    trained(detector, detector_settings, fill_detector),
    trained(classifier, classifier_settings, fill_classifier),
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
