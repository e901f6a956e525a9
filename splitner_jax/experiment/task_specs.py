"""The tasks that a config describes, with all that they are trained from."""

import dataclasses
import functools
import logging
from typing import cast

from ml_collections import ConfigDict

from splitner_jax import pretrained
from splitner_jax.data import corpora
from splitner_jax.experiment import label_names, warm_start
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.settings import (
  check_config,
  task_settings,
)
from splitner_jax.inference.forward import Programs
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs import questions
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.pretrained.folders import checksum, folder_or_download
from splitner_jax.runtime.devices import compute_dtype
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import AnyTask
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.mentions import MentionTask
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import SYSTEMS, AnySystem

log = logging.getLogger(__name__)

_CONFIG = ("config.json",)  # Has the checksums of the other files.


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
    if self.settings.get("last_layer") == "names" and not whole:
      filled = label_names.fill(filled, cast(MentionTask, self.task))
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
    sources: CRC-32 of what the config only names: the files that each task
      starts from, those of `start_from`, parts of speech if they are read.
  """

  corpus: corpora.Corpus
  kind: AnySystem
  parts: dict[str, TaskSpec]
  sources: dict[str, int]


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
      f"{encoder.max_length} that {name} can read; lower it"
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
    corpus.train,
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
  parts = {name: _part(config, name, corpus, start) for name in kind.task_names}
  folders = {name: part.backbone.folder for name, part in parts.items()}
  if config.start_from is not None:
    folders["start_from"] = folder_or_download(config.start_from, _CONFIG)
  # Tasks mostly start from the same one.
  known = {folder: checksum(folder) for folder in set(folders.values())}
  sources = {name: known[folder] for name, folder in folders.items()}
  if any("pos" in part.task.features for part in parts.values()):
    sources["parts_of_speech"] = corpus.pos_checksum
  return Experiment(corpus, kind, parts, sources)
