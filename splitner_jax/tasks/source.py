"""What tasks are made from: a config's settings, a backbone, a corpus."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from splitner_jax import pretrained
from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class TaskSource:
  """All that a kind of system makes one of its tasks from.

  Attributes:
    name: of the task; the config's part with its settings has it too.
    settings: that part, common fields filled in.
    backbone: where the first weights are, with the encoder's config.
    tokenizer: the backbone's.
    corpus_types: entity types of the corpus.
    type_names: names of types in plain words, see `questions.type_name`.
    sentences: of the training data.
  """

  name: str
  settings: ConfigDict
  backbone: pretrained.Backbone
  tokenizer: Tokenizer
  corpus_types: Sequence[str]
  type_names: Mapping[str, str]
  sentences: Sequence[Sentence]

  @property
  def encoder(self) -> EncoderConfig:
    return self.backbone.encoder

  @functools.cached_property
  def head(self) -> pretrained.CheckpointHead | None:
    """Of a checkpoint of the paper's authors, whose rules then hold."""
    if not self.settings.checkpoint:
      return None
    return pretrained.read_head(self.backbone.folder)

  def types(self, *, one_label_each: bool) -> Sequence[str]:
    """The entity types in the order of the labels.

    Args:
      one_label_each: whether a checkpoint of such a task has a label for each
        type, whose names may then be in its config.json.

    Raises:
      UserError: nobody says which types a checkpoint has, or the corpus has
        others.
    """
    if self.head is None:
      return self.corpus_types
    given = [label for label in self.settings.labels.split(",") if label]
    types: Sequence[str] = given
    if one_label_each:
      folder = self.backbone.folder
      types = pretrained.entity_types(folder, self.head.num_labels, given)
    elif not given:
      raise UserError(
        f"config.{self.name}.labels: not set; name the checkpoint's entity "
        "types in their order, A,B,..."
      )
    unknown = sorted(set(self.corpus_types) - set(types))
    if unknown:
      raise UserError(
        f"config.{self.name}.checkpoint: knows {', '.join(types)}, but the "
        f"corpus has {', '.join(unknown)}; name its types by the corpus's "
        f"names with --config.{self.name}.labels=A,B,..."
      )
    return types
