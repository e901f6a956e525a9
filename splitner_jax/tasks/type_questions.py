"""The task that asks for one entity type at a time: Single(QA)."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from splitner_jax.inputs import questions
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.pretrained import Head
from splitner_jax.tasks.tokens import TokenTask, token_task


def type_questions(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
  type_names: Mapping[str, str],
  head: Head | None = None,
  pos_tags: tuple[str, ...] = (),
) -> TokenTask:
  """The baseline Single(QA): one input for each sentence and type.

  Args:
    settings: `config.tagger` with the common fields filled in.
    encoder, tokenizer, head, pos_tags: see `tokens.span_detection`.
    types: entity types; conflicts in the reference's protocol go to the first.
    type_names: names of types in plain words, see `questions.type_name`.

  Raises:
    UserError: a setting has no meaning.
  """
  template = questions.parse(
    "tagger.question", settings.question, questions.TYPE
  )
  asked = tuple(
    tuple(
      questions.fill(
        template,
        questions.TYPE,
        questions.type_name(label, type_names).split(),
      )
    )
    for label in types
  )
  return token_task(
    "tagger",
    settings,
    encoder,
    tokenizer,
    questions=asked,
    asked=tuple(types),
    double_sep=True,
    head=head,
    pos_tags=pos_tags,
  )
