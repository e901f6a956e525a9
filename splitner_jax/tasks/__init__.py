"""Tasks: how sentences become model inputs, and logits become answers.

A task is a frozen record with a model and functions of sentences:
`encode` makes examples, `decode` reads answers off the logits of their targets.
It holds no parameters; `training` and `inference` bring them. The argument
`forward` is a function of examples that returns these logits (an
`inference.forward.Forward`).
"""

from splitner_jax.tasks.base import ForwardFn, Task
from splitner_jax.tasks.from_settings import (
  sequence_tagging,
  span_detection,
  type_questions,
)
from splitner_jax.tasks.mentions import MentionTask, span_classification
from splitner_jax.tasks.systems.base import AnyTask
from splitner_jax.tasks.systems.hierarchical import GroupTask
from splitner_jax.tasks.tokens import TokenTask

TASK_KINDS: dict[str, type[AnyTask]] = {
  "token": TokenTask,
  "type questions": TokenTask,
  "mention": MentionTask,
  "group": GroupTask,
}
"""What a model's folder calls the kinds of tasks."""

__all__ = [
  "TASK_KINDS",
  "AnyTask",
  "ForwardFn",
  "MentionTask",
  "Task",
  "TokenTask",
  "sequence_tagging",
  "span_classification",
  "span_detection",
  "type_questions",
]
