"""The tasks that a config describes, with all that they are trained from."""

import dataclasses
import functools
import logging
from typing import Any

from ml_collections import ConfigDict

from splitner_jax import pretrained
from splitner_jax.data import corpora
from splitner_jax.experiment import warm_start
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.settings import (
  check_config,
  task_settings,
)
from splitner_jax.inference.forward import Programs
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs import questions
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.runtime.devices import compute_dtype
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import AnyTask
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.from_settings import pos_tags
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import SYSTEMS, SystemKind

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TaskSpec:
  """A task of an experiment with all that it is trained from.

  Attributes:
    settings: its part of the config, common fields filled in.
    backbone: where its first weights are.
    start: a model whose parameters replace these, if there is one.
    programs: the same for evaluation in training and afterwards.
  """

  task: AnyTask
  settings: ConfigDict
  backbone: pretrained.Backbone
  start: NerModel | None = None

  @functools.cached_property
  def programs(self) -> Programs:
    return Programs(self.task, self.settings.inference_batch_size)

  @property
  def decoding(self) -> Decoding:
    """That of the config."""
    return Decoding(outside_bias=self.settings.get("o_bias", 0.0))

  def fill(self, params: Tree) -> Tree:
    """Puts the backbone's, or the checkpoint's, weights into `params`."""
    whole = self.settings.checkpoint is not None
    filled = pretrained.fill(params, self.backbone.folder, complete=whole)
    if self.start is None:
      return filled
    return warm_start.fill(filled, self.task, self.start)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a config describes.

  Attributes:
    corpus: the sentences.
    kind: of system.
    parts: its tasks, by name.
  """

  corpus: corpora.Corpus
  kind: SystemKind[Any]
  parts: dict[str, TaskSpec]


def _backbone(settings: ConfigDict) -> tuple[pretrained.Backbone, Tokenizer]:
  """The encoder's sizes and the tokenizer, as the settings want them."""
  dtype = compute_dtype(settings.compute_dtype)
  name = settings.checkpoint or settings.backbone
  backbone = pretrained.read_backbone(pretrained.resolve(name), dtype=dtype)
  encoder = dataclasses.replace(
    backbone.encoder,
    hidden_dropout=settings.dropout,
    attention_dropout=settings.dropout,
    rematerialise=settings.rematerialise,
  )
  if settings.max_length > encoder.max_length:
    raise UserError(
      f"config.max_length: {settings.max_length} is more than the "
      f"{encoder.max_length} that {name} can read"
    )
  tokenizer = Tokenizer(
    backbone.folder,
    backbone.family.pairs,
    settings.max_length,
    reference=settings.checkpoint is not None,
  )
  tokenizer.check_vocabulary(encoder.vocab_size)
  return dataclasses.replace(backbone, encoder=encoder), tokenizer


def _part(
  config: ConfigDict,
  name: str,
  corpus: corpora.Corpus,
  start: NerModel | None,
) -> TaskSpec:
  """A task, as its part of the config describes it."""
  settings = task_settings(config, name)
  backbone, tokenizer = _backbone(settings)
  names = questions.parse_type_names(config.data.type_names)
  unknown = sorted(names.keys() - set(corpus.types))
  if unknown:
    raise UserError(
      f"config.data.type_names: {unknown[0]!r} is no type of the corpus, which "
      f"has {', '.join(corpus.types)}"
    )
  source = TaskSource(
    name,
    settings,
    backbone,
    tokenizer,
    corpus.types,
    names,
    pos_tags(corpus.train),
  )
  return TaskSpec(
    SYSTEMS[config.system].make(source), settings, backbone, start
  )


def prepare(
  config: ConfigDict, corpus: corpora.Corpus | None = None
) -> Experiment:
  """Makes the tasks; nothing is trained or written.

  Args:
    config: see `default_config`.
    corpus: what `config.data` describes, if it is loaded already.

  Raises:
    UserError: for anything that the user can mend.
  """
  check_config(config)
  corpus = corpus or load_corpus(config.data)
  log.info("%s", corpus.describe())
  kind = SYSTEMS[config.system]
  start = None
  if config.start_from is not None:
    start = warm_start.load(config.start_from, kind.name)
  return Experiment(
    corpus,
    kind,
    {name: _part(config, name, corpus, start) for name in kind.task_names},
  )
