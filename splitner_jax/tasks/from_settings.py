"""Tasks that label words, as a config's settings describe them."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence
from splitner_jax.data.tags import MODEL_SCHEMES, LabelScheme
from splitner_jax.inputs import patterns, questions
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.inputs.word_features.reading import (
  FEATURES,
  WordReading,
  model_features,
)
from splitner_jax.models.heads import TokenClassifier
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.pretrained import CheckpointHead
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.base import choice
from splitner_jax.tasks.tokens import LABELS_ON, TokenTask


def parse_features(field: str, text: str) -> tuple[str, ...]:
  """Reads `features` as the config has it.

  >>> parse_features("detector.features", "both+pos")
  ('char', 'pattern', 'pos')

  Raises:
    UserError: it is neither none nor names of features with + between them.
  """
  if text == "none":
    return ()
  names = text.replace("both", "char+pattern").split("+")
  if not set(names) <= set(FEATURES) or len(set(names)) < len(names):
    raise UserError(
      f"config.{field}: {text!r} is neither none nor any of "
      f"{', '.join((*FEATURES, 'both'))}, such as both+pos"
    )
  if {"pattern", "shape"} <= set(names):
    raise UserError(
      f"config.{field}: {text!r} has shape, the pattern of the whole word, "
      "beside pattern; leave one of them out"
    )
  return tuple(name for name in FEATURES if name in names)


def span_detection(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  head: CheckpointHead | None = None,
  sentences: Sequence[Sentence] = (),
  types: Sequence[str] = (),
) -> TokenTask:
  """The first step: finds mentions, whatever their type (section 2.1).

  Args:
    settings: `config.detector` with the common fields filled in.
    encoder: the backbone's sizes.
    tokenizer: the backbone's tokenizer.
    head: of a checkpoint of the paper's authors, whose rules then hold; it
      decides the features and the number of labels.
    sentences: of the training data, in which features of words count.
    types: what its labels say of a mention; none in the paper.
  """
  return _token_task(
    "detector",
    settings,
    encoder,
    tokenizer,
    types=tuple(types),
    questions=(tuple(settings.question.split()),),
    head=head,
    sentences=sentences,
  )


def sequence_tagging(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
  head: CheckpointHead | None = None,
  sentences: Sequence[Sentence] = (),
  name: str = "tagger",
) -> TokenTask:
  """The baseline Single(SeqTag): boundaries and types in one label.

  Args:
    settings: `config.tagger` with the common fields filled in.
    encoder, tokenizer, head, sentences: see `span_detection`.
    types: entity types, in the order of the labels.
    name: of the task, and of the config's part.
  """
  return _token_task(
    name,
    settings,
    encoder,
    tokenizer,
    types=tuple(types),
    head=head,
    sentences=sentences,
  )


def type_questions(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
  type_names: Mapping[str, str],
  head: CheckpointHead | None = None,
  sentences: Sequence[Sentence] = (),
) -> TokenTask:
  """The baseline Single(QA): one input for each sentence and type.

  Args:
    settings: `config.tagger` with the common fields filled in.
    encoder, tokenizer, head, sentences: see `span_detection`.
    types: entity types; conflicts in the reference's protocol go to the first.
    type_names: names of types in plain words, see `questions.type_name`.

  Raises:
    UserError: a setting has no meaning, or two types have the same question.
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
  known: dict[tuple[str, ...], str] = {}
  for label, question in zip(types, asked, strict=True):
    other = known.setdefault(question, label)
    if other != label:
      raise UserError(
        f"config.data.type_names: the types {other} and {label} have the same "
        f"question, {' '.join(question)!r}; name one of them otherwise, such "
        f"as '{label}=another name'"
      )
  return _token_task(
    "tagger",
    settings,
    encoder,
    tokenizer,
    questions=asked,
    asked=tuple(types),
    double_sep=True,
    head=head,
    sentences=sentences,
  )


def _token_task(
  name: str,
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  *,
  types: tuple[str, ...] = (),
  questions: tuple[tuple[str, ...], ...] = ((),),
  asked: tuple[str, ...] = (),
  double_sep: bool = False,
  head: CheckpointHead | None = None,
  sentences: Sequence[Sentence] = (),
) -> TokenTask:
  """A task that labels words; `name` is the config's part with its settings.

  Raises:
    UserError: a setting has no meaning, or does not fit the checkpoint.
  """
  scheme = LabelScheme(
    choice(f"{name}.scheme", settings.scheme, MODEL_SCHEMES), types
  )
  names = parse_features(f"{name}.features", settings.features)
  reading = WordReading.fit(names, sentences)
  features = model_features(names)
  if "pos" in features and not reading.pos_tags:
    raise UserError(
      f"config.{name}.features: {settings.features} needs parts of speech, "
      "which the training data does not have; name their column in "
      "config.data.pos_column, or leave pos out"
    )
  vocabs = patterns.CHARACTER_VOCAB, patterns.PATTERN_VOCAB
  if head:
    if len(scheme.labels) != head.num_labels:
      of_types = f" with {len(types)} types" if types else ""
      raise UserError(
        f"config.{name}.scheme: {settings.scheme}{of_types} has "
        f"{len(scheme.labels)} labels, but the checkpoint {head.num_labels}; "
        "for each type, or once without types, BO has 1, BIO 2, BIOE 3, BIOES "
        "4, and O is one more"
      )
    features, reading = head.features, WordReading()
    vocabs = head.char_vocab_size, head.pattern_vocab_size
  return TokenTask(
    name=name,
    model=TokenClassifier(
      encoder,
      len(scheme.labels),
      features,
      *vocabs,
      mask_char_padding=head is None,
      pos_vocab_size=1 + len(reading.pos_tags) if "pos" in features else 0,
      word_sizes=reading.sizes,
    ),
    tokenizer=tokenizer,
    scheme=scheme,
    questions=questions,
    asked=asked,
    labels_on=choice(f"{name}.labels_on", settings.labels_on, LABELS_ON),
    features=features,
    reading=reading,
    double_sep=double_sep,
  )
