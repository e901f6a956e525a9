"""Tasks on the tiny tokenizer, whose models are not run, and sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import common
from splitner_jax import tasks
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.inputs.examples import Example, Examples
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.bert import BertConfig
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import Prediction, SystemKind

ENCODER = BertConfig(99, 16, 1, 2, 32, 512)
TYPES = ("location", "person")
# "what" and "is" are one subword, other words have one for each letter.
WORDS = ("what", "Ada", "Bo", "is", "x2")
SENTENCE = Sentence(WORDS, (Span(1, 3, "person"), Span(4, 5, "location")))


def settings(name: str, **fields: Any) -> ConfigDict:
  """The config's part of a task, with changes."""
  part: ConfigDict = common.get_config()[name]
  part.update(fields)
  return part


def detector(tokenizer: Tokenizer, **fields: Any) -> tasks.TokenTask:
  fields = {"question": "what is ?", **fields}
  return tasks.span_detection(
    settings("detector", **fields), ENCODER, tokenizer
  )


def classifier(tokenizer: Tokenizer, **fields: Any) -> tasks.MentionTask:
  return tasks.span_classification(
    settings("classifier", **fields), ENCODER, tokenizer, TYPES
  )


def random_sentences(count: int, longest: int) -> list[Sentence]:
  """Words of one to seven subwords, mentions of one to four words."""
  rng = np.random.default_rng(count)
  sentences = []
  for _ in range(count):
    words = [
      "".join(rng.choice(list("abXY12"), rng.integers(1, 8)))
      for _ in range(rng.integers(1, longest))
    ]
    spans, end = [], 0
    while True:
      start = end + int(rng.integers(0, 6))
      end = start + int(rng.integers(1, 5))
      if end > len(words):
        break
      spans.append(Span(start, end, str(rng.choice(TYPES))))
    sentences.append(Sentence(tuple(words), tuple(spans)))
  return sentences


def text(tokenizer: Tokenizer, example: Example) -> str:
  """The vocabulary's names of the tokens."""
  return " ".join(tokenizer.fast.convert_ids_to_tokens(example.ids.tolist()))


def questions(tokenizer: Tokenizer, examples: Examples) -> list[str]:
  """The text of the part in which each target is."""
  texts = []
  for example in examples:
    names = np.array(text(tokenizer, example).split())
    for target in example.targets.tolist():
      part = example.parts == example.parts[target]
      texts.append(" ".join(names[part]))
  return texts


def oracle(classes: int) -> tasks.ForwardFn:
  """A model that says what the examples' labels say."""

  def run(examples: Examples) -> np.ndarray:
    return 9.0 * np.eye(classes, dtype=np.float32)[examples.labels]

  return run


def detect(
  task: tasks.TokenTask,
  forward: tasks.ForwardFn,
  sentences: Sequence[Sentence],
  outside_bias: float = 0.0,
) -> list[list[ScoredSpan]]:
  """What each question finds in each sentence."""
  examples, _ = task.encode(sentences)
  return task.decode(examples, forward(examples), sentences, outside_bias)


def types(
  task: tasks.MentionTask,
  forward: tasks.ForwardFn,
  sentences: Sequence[Sentence],
  mentions: Sequence[Sequence[Span | ScoredSpan]],
) -> list[list[tuple[str, float]]]:
  """Type and probability of each mention of each sentence."""
  found = iter(task.classes(task.logits(forward, sentences, mentions)))
  return [[next(found) for _ in row] for row in mentions]


def predict(
  kind: SystemKind[Any],
  parts: Mapping[str, tasks.AnyTask],
  forwards: Mapping[str, tasks.ForwardFn],
  sentences: Sequence[Sentence],
  decoding: Decoding | None = None,
) -> Prediction:
  """What a system says of sentences."""
  decoding = decoding or Decoding()
  examples = kind.encode(parts, sentences)
  biases = [decoding.outside_bias]
  reading = kind.read(parts, forwards, sentences, examples, biases)
  return kind.decode(parts, reading, decoding)
