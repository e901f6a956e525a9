"""Tagging as a side: whole systems, and a pipeline on PyTorch."""

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment.task_specs import Experiment, TaskSpec
from splitner_jax.inference.forward import Forward
from splitner_jax.inference.ner_model import NerModel, Predictor
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.inputs.examples import Examples
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.throughput import flops, weights
from splitner_jax.throughput.compiled import Compiled, MeasuredPrograms
from splitner_jax.throughput.sides import Side

_FIRST = 32  # Sentences that are tagged before it is measured.
_HALVINGS = 12


class _Counted:
  """A forward pass that counts what it reads."""

  def __init__(self, forward: Forward):
    self._forward = forward
    self.tokens = self.positions = self.flops = 0.0

  def __call__(
    self, examples: Examples, batch_size: int | None = None
  ) -> np.ndarray:
    logits = self._forward(examples, batch_size)
    tokens = float(examples.lengths.sum())
    self.tokens += tokens
    self.positions += tokens / (1 - self._forward.padding)
    self.flops += flops.forward_flops(self._forward.programs.task, examples)
    return logits


class Tagging:
  """A system that tags: trained, or with random weights.

  With random weights its outside bias is such that it finds about as many
  mentions as there are.

  Attributes:
    ner: what tags.
    compiled: its programs.
  """

  def __init__(
    self,
    run: Experiment,
    texts: Sequence[str | Sequence[str]],
    model: NerModel | None = None,
  ):
    """Compiles what tagging the first texts needs.

    Args:
      run: of the system.
      texts: the test sentences.
      model: a trained one, if there is one.
    """
    self.compiled = Compiled()
    self._texts = texts
    part = next(iter(run.parts.values()))
    batch_size = part.settings.inference_batch_size
    sentences = run.corpus.test[:_FIRST]
    whole = model or _untrained(run)
    predictor = Predictor(
      whole,
      {
        name: MeasuredPrograms(task, batch_size, self.compiled)
        for name, task in whole.tasks.items()
      },
    )
    self._predictor, self._forwards = predictor, predictor.forwards
    if model is None:
      predictor.decoding = _as_many(predictor, sentences)
    whole = NerModel(
      whole.kind,
      whole.tasks,
      whole.params,
      predictor.decoding,
      whole.text_style,
    )
    self.ner = SplitNER(whole, predictor=predictor)
    self.ner.predict(texts[:_FIRST])

  def seconds_a_text(self) -> float:
    """About; of the first ones."""
    start = time.perf_counter()
    self.ner.predict(self._texts[:_FIRST])
    return (time.perf_counter() - start) / min(_FIRST, len(self._texts))

  def side(self, count: int) -> Side:
    """The tagging of so many texts, the first ones."""
    texts = self._texts[:count]
    self.ner.predict(texts)  # What it has to compile for more of them.
    counted: Any = {n: _Counted(f) for n, f in self._forwards.items()}
    self._predictor.forwards = counted
    self.ner.predict(texts)
    self._predictor.forwards = self._forwards
    return Side(
      lambda: self.ner.predict(texts),
      1.0,
      sum(each.tokens for each in counted.values()),
      sum(each.positions for each in counted.values()),
      sum(each.flops for each in counted.values()),
      self.compiled,
    )


def _untrained(run: Experiment) -> NerModel:
  """The system with fresh parameters."""
  tasks = {name: part.task for name, part in run.parts.items()}
  params = {name: weights.parameters(task) for name, task in tasks.items()}
  return NerModel(run.kind, tasks, params)


def _as_many(predictor: Predictor, sentences: Sequence[Sentence]) -> Decoding:
  """A decoding that finds as many spans as there are."""
  wanted = sum(len(s.spans) for s in sentences)
  task = predictor.kind.detection(predictor.tasks)
  examples = predictor.encode(sentences)
  logits = predictor.forwards[predictor.kind.detection_task](examples)

  def found(bias: float) -> int:
    spans = task.decode(examples, logits, sentences, bias)
    return sum(map(len, spans))

  low, high = 0.0, 0.25
  while found(high) > wanted:
    low, high = high, 2 * high
  # From above: a bias that finds thousands of spans would take its time.
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    low, high = (middle, high) if found(middle) > wanted else (low, middle)
  return Decoding(outside_bias=high)


def torch_pipeline(part: TaskSpec, texts: list[str], labels: int) -> Side:
  """The token-classification pipeline of transformers on PyTorch.

  On a GPU, if PyTorch sees one, in the precision that ours computes in there.

  Args:
    part: whose backbone, tokenizer and batch size it gets.
    texts: to tag.
    labels: of its model.

  Raises:
    ImportError: there is no PyTorch.
  """
  import torch
  import transformers

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  config = transformers.AutoConfig.from_pretrained(
    part.backbone.folder, local_files_only=True, num_labels=labels
  )
  config.id2label = {i: f"B-{i}" if i else "O" for i in range(labels)}
  model = transformers.AutoModelForTokenClassification.from_config(config)
  # Random weights would find mentions everywhere, and joining them takes time.
  with torch.no_grad():
    model.classifier.bias[0] = 100.0
  gpu = torch.cuda.is_available()
  if gpu and part.task.model.encoder.dtype == "bfloat16":
    model.bfloat16()
  pipeline = transformers.pipeline(
    "token-classification",
    model=model.eval(),
    device="cuda" if gpu else "cpu",
    tokenizer=part.task.tokenizer.fast,
    aggregation_strategy="simple",
    batch_size=part.settings.inference_batch_size,
  )
  pipeline(texts[:_FIRST])
  lengths = map(len, part.task.tokenizer.fast(texts)["input_ids"])
  return Side(lambda: pipeline(texts), tokens=float(sum(lengths)))
