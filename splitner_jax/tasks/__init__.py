"""Tasks: how sentences become model inputs, and logits become answers.

A task is a frozen record with a model, a loss and functions of sentences. It
holds no parameters; `train` and `systems` bring them. Its argument `run` is a
function of examples that returns their logits (`forward.Forward` with its
parameters bound).
"""

from splitner_jax.tasks.base import Run, Task
from splitner_jax.tasks.mentions import MentionTask, span_classification
from splitner_jax.tasks.tokens import (
  TokenTask,
  sequence_tagging,
  span_detection,
)
from splitner_jax.tasks.type_questions import TypeQuestionTask, type_questions

AnyTask = TokenTask | MentionTask | TypeQuestionTask

__all__ = [
  "AnyTask",
  "MentionTask",
  "Run",
  "Task",
  "TokenTask",
  "TypeQuestionTask",
  "sequence_tagging",
  "span_classification",
  "span_detection",
  "type_questions",
]
