"""Questions that share a sentence: the logits that each has by itself."""

import dataclasses

import numpy as np
import pytest
from flax import traverse_util

from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.models.heads import POOLINGS
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices
from splitner_jax.tasks import MentionTask
from tests import tiny, tiny_tasks

_LONGEST = 160


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=_LONGEST)


def _forward(task: MentionTask) -> Forward:
  rng = np.random.default_rng(0)
  flat = {
    name: rng.normal(name.endswith("scale"), 0.3, shape).astype(np.float32)
    for name, shape in parameter_shapes(task.model).items()
  }
  params = traverse_util.unflatten_dict(flat, sep="/")
  return Forward(Programs(task), devices.replicate(params))


@pytest.mark.parametrize("separators", [1, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_together_and_alone(
  pooling: str,
  separators: int,
  tokenizer: Tokenizer,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  pairs = PairStyle(separators, second_type=2 - separators)
  monkeypatch.setattr(tokenizer, "pairs", pairs)
  task = tiny_tasks.classifier(
    tokenizer, pooling=pooling, context="shared", max_context=30
  )
  if separators == 2:  # RoBERTa: one token type, positions from 2.
    encoder = dataclasses.replace(
      tiny_tasks.ENCODER, type_vocab_size=1, position_offset=2
    )
    model = dataclasses.replace(task.model, encoder=encoder)
    task = dataclasses.replace(task, model=model)
  sentences = tiny_tasks.random_sentences(12, longest=40)
  # Overlapping, and too many for one input.
  many = [
    (*s.spans, *(type(s.spans[0])(i, i + 2, "person") for i in range(0, 8, 2)))
    if len(s.words) > 10 and s.spans
    else s.spans
    for s in sentences
  ]
  run = _forward(task)
  examples = task.encode(sentences, many)
  assert len(examples) < len(examples.targets)
  by_mention = np.zeros((len(examples.targets), 2), np.float32)
  by_mention[examples.asked] = run(examples)
  owners = [i for i, spans in enumerate(many) for _ in spans]
  spans = [span for row in many for span in row]
  assert by_mention.std() > 0.1
  for number, (i, span) in enumerate(zip(owners, spans, strict=True)):
    alone = run(task.encode([sentences[i]], [[span]]))
    np.testing.assert_allclose(alone[0], by_mention[number], atol=1e-5, rtol=0)


def test_a_question_does_not_read_the_others(tokenizer: Tokenizer) -> None:
  """But own context and shared context are not the same."""
  sentence = tiny_tasks.SENTENCE
  logits = {}
  for context in ("own", "shared"):
    task = tiny_tasks.classifier(
      tokenizer, context=context, positions="question", pooling="cls"
    )
    examples, _ = task.training_examples([sentence])
    logits[context] = _forward(task)(examples)
  assert np.abs(logits["own"] - logits["shared"]).max() > 1e-3
