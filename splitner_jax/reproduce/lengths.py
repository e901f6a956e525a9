"""Time of SplitNER and Single(QA) by the length of the sentences.

launch/reproduce.sh lengths
"""

import dataclasses
import itertools
import json
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm
from ml_collections import ConfigDict

from splitner_jax import pretrained, tasks
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment import default_config
from splitner_jax.experiment.report import machine
from splitner_jax.experiment.settings import task_settings
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.reproduce import paper
from splitner_jax.runtime import compilation, devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write
from splitner_jax.training import loop

TYPES = ("person", "location", "organization", "product", "event")
FEATURES = {
  "both": "With the character and pattern features, the default",
  "none": "Without them",
}
"""The values of `features` that are measured, with their titles."""

_LONGEST = 1000
_QUESTION = 150  # Room for it, in subwords, and for any two words.
_MENTION_EVERY = 25  # Words.
_MENTION_WORDS = 2
_BATCH = 16
_BATCH_TOKENS = 2000
_LEAST_TURNS = 5
_TYPE_COUNT = {"wnut17": 6, "ctireports": 8, "bionlp13cg": 16, "ontonotes": 18}


class _Action(NamedTuple):
  """What takes its turn, given its number, and how many sentences that does."""

  act: Callable[[int], Any]
  sentences: float


def synthetic(tokenizer: Tokenizer, length: int, count: int) -> list[Sentence]:
  """Sentences of exactly so many sub-tokens, always the same.

  Each word is one sub-token, drawn from the vocabulary by Zipf's law; a
  mention of two words stands in every 25.
  """
  vocab = tokenizer.fast.get_vocab()
  words = [
    word
    for word in sorted(vocab, key=vocab.__getitem__)
    if word.isascii() and word.isalpha() and word.islower()
  ]
  sizes = np.diff(tokenizer([words]).starts(0))
  words = [w for w, size in zip(words, sizes, strict=True) if size == 1]
  weights = 1.0 / np.arange(1, len(words) + 1)
  rng = np.random.default_rng(length)
  drawn = rng.choice(words, (count, length), p=weights / weights.sum()).tolist()
  first = (_MENTION_EVERY - _MENTION_WORDS) // 2
  starts = range(first, length - length % _MENTION_EVERY, _MENTION_EVERY)
  return [
    Sentence(
      tuple(row),
      tuple(
        Span(start, start + _MENTION_WORDS, TYPES[(i + m) % len(TYPES)])
        for m, start in enumerate(starts)
      ),
    )
    for i, row in enumerate(drawn)
  ]


class _Program:
  """A model with random weights, for all tasks that have such a one."""

  def __init__(self, task: Any):
    self._task = task
    self._state: Any = None

  def step(self, setup: loop.Setup) -> Callable[[int], None]:
    """A function that makes one training step, with the making of its batch."""
    steps = {
      layout: devices.compile_step(setup.make_step(layout))
      for layout in setup.layouts()
    }
    coming = (batch for n in itertools.count() for batch, _ in setup.batches(n))

    def step(_: int) -> None:
      if self._state is None:
        self._state = devices.replicate(setup.init_state())
      batch = next(coming)
      arrays = devices.put_batch(batch.arrays)
      self._state, measured = steps[batch.layout](self._state, arrays)
      float(measured["loss"])

    return step

  def forward(self, batch: int) -> tasks.ForwardFn:
    """The forward pass with the weights as they are then."""
    programs = Programs(self._task, batch)
    return lambda examples: Forward(programs, self._state.params)(examples)


class _Tasks(NamedTuple):
  """The three tasks, and the programs of the two models that they have."""

  detector: tasks.TokenTask
  classifier: tasks.MentionTask
  tagger: tasks.TokenTask
  settings: dict[str, ConfigDict]
  tokens: _Program
  mentions: _Program

  def setup(
    self, name: str, sentences: Sequence[Sentence], batch: int
  ) -> loop.Setup:
    """The training of a task, in batches of so many examples on average."""
    settings = self.settings[name]
    settings.batch_size = batch
    return loop.prepare(getattr(self, name), settings, sentences)


def _tasks(backbone: str, features: str, length: int) -> _Tasks:
  """The tasks, on an encoder with room for sentences of this length."""
  positions = length + _QUESTION
  config = default_config.get_config()
  config.max_length = positions
  for part in (config.detector, config.tagger):
    part.features = features
  found = pretrained.read_backbone(
    pretrained.resolve(backbone),
    dtype=devices.compute_dtype(config.compute_dtype),
  )
  encoder = dataclasses.replace(
    found.encoder,
    # Where positions do not start at 0, it needs more of them.
    max_positions=positions
    + found.encoder.max_positions
    - found.encoder.max_length,
    hidden_dropout=config.dropout,
    attention_dropout=config.dropout,
  )
  tokenizer = Tokenizer(found.folder, found.family.pairs, positions)
  names = ("detector", "classifier", "tagger")
  settings = {name: task_settings(config, name) for name in names}
  shared = encoder, tokenizer
  detector = tasks.span_detection(settings["detector"], *shared)
  classifier = tasks.span_classification(settings["classifier"], *shared, TYPES)
  tagger = tasks.type_questions(settings["tagger"], *shared, TYPES, {})
  return _Tasks(
    detector,
    classifier,
    tagger,
    settings,
    tokens=_Program(detector),
    mentions=_Program(classifier),
  )


def _tag(
  task: tasks.TokenTask,
  forward: tasks.ForwardFn,
  sentences: Sequence[Sentence],
) -> None:
  """All that tagging sentences takes."""
  examples, _ = task.encode(sentences)
  # Random weights would find mentions everywhere, and to join thousands of
  # them takes a time that no trained model needs.
  task.decode(examples, forward(examples), sentences, outside_bias=1e4)


def _measure(made: _Tasks, length: int, seconds: float) -> dict[str, Any]:
  """Seconds of 1,000 sentences, for each task in training and inference."""
  batch = min(_BATCH, _BATCH_TOKENS // length)
  sentences = synthetic(made.detector.tokenizer, length, 2 * _BATCH)
  detector, tagger, classifier = (
    made.setup(name, sentences, batch if name != "classifier" else _BATCH)
    for name in ("detector", "tagger", "classifier")
  )
  run_tokens = made.tokens.forward(batch)
  run_mentions = made.mentions.forward(_BATCH)

  tagged = sentences[:batch]
  found = [(i, span) for i, s in enumerate(sentences) for span in s.spans]
  mentions: list[list[Span]] = [[] for _ in sentences]
  for i, span in found[:_BATCH]:
    mentions[i].append(span)
  per_sentence = len(sentences[0].spans)
  actions = {
    ("training", "detector"): _Action(made.tokens.step(detector), batch),
    ("training", "classifier"): _Action(
      made.mentions.step(classifier), _BATCH / per_sentence
    ),
    ("training", "tagger"): _Action(
      made.tokens.step(tagger), batch / len(TYPES)
    ),
    ("inference", "detector"): _Action(
      lambda _: _tag(made.detector, run_tokens, tagged), batch
    ),
    ("inference", "classifier"): _Action(
      lambda _: made.classifier.classes(
        made.classifier.logits(run_mentions, sentences, mentions)
      ),
      _BATCH / per_sentence,
    ),
    ("inference", "tagger"): _Action(
      lambda _: _tag(made.tagger, run_tokens, tagged), batch
    ),
  }
  for action in actions.values():
    action.act(0)
  usual, turns = _take_turns(actions, seconds)
  figures: dict[str, Any] = {"batch": batch, "turns": turns}
  for (kind, name), action in actions.items():
    each = 1000 * usual[kind, name] / action.sentences
    figures.setdefault(kind, {})[name] = each
  return figures


def _take_turns(
  actions: Mapping[Any, _Action], seconds: float
) -> tuple[dict[Any, float], int]:
  """Median seconds of each action, and how many turns they had.

  They take turns until the time is used up: a busy machine is so for all, and
  what interrupts a turn or two does not count.
  """
  taken: dict[Any, list[float]] = {name: [] for name in actions}
  end = time.perf_counter() + seconds
  turns = 0
  while turns < _LEAST_TURNS or time.perf_counter() < end:
    for name, action in actions.items():
      start = time.perf_counter()
      action.act(turns)
      taken[name].append(time.perf_counter() - start)
    turns += 1
  return {name: statistics.median(each) for name, each in taken.items()}, turns


def run(
  results: pathlib.Path,
  *,
  lengths: Sequence[int] = (50, 100, 200, 500, 1000),
  seconds: float = 10.0,
  backbone: str = "minilm",
) -> pathlib.Path:
  """Measures what is not measured yet, and writes the page after each length.

  Args:
    results: gets lengths.md and runs/lengths/report.json.
    lengths: sub-tokens of a sentence, 25 to 1,000.
    seconds: of measuring at each length, compiling and the first turn apart;
      once with the two features and once without.
    backbone: gives the encoder's sizes and the tokenizer.

  Raises:
    UserError: a length is out of range, or there is no such backbone.
  """
  for length in lengths:
    if not _MENTION_EVERY <= length <= _LONGEST:
      raise UserError(
        f"lengths: {length} is not from {_MENTION_EVERY} to {_LONGEST}"
      )
  compilation.use_compilation_cache()
  settings = {
    # The name alone: a folder is of one machine only.
    "backbone": pathlib.PurePath(backbone).name,
    "seconds": seconds,
    "least_turns": _LEAST_TURNS,
    "machine": machine(),
  }
  path = results / "runs" / "lengths" / "report.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  report = _known(path, settings)
  missing = {
    features: [n for n in lengths if str(n) not in report["figures"][features]]
    for features in FEATURES
  }
  page = results / "lengths.md"
  with tqdm.tqdm(
    total=sum(map(len, missing.values())), desc="lengths", unit="length"
  ) as bar:
    for features, wanted in missing.items():
      if not wanted:
        continue
      for length in wanted:
        made = _tasks(backbone, features, length)
        bar.set_postfix_str(f"{length} sub-tokens, features {features}")
        figures = _measure(made, length, seconds)
        report["figures"][features][str(length)] = figures
        atomic_write(path, [json.dumps(report, indent=2), "\n"])
        atomic_write(page, [_markdown(report)])
        bar.update()
  atomic_write(page, [_markdown(report)])
  return page


def _known(path: pathlib.Path, settings: dict[str, Any]) -> dict[str, Any]:
  """The report as far as it goes; an empty one if settings differ."""
  try:
    report = json.loads(path.read_bytes())
    if report["settings"] == settings:
      return report
  except FileNotFoundError:
    pass
  except (ValueError, KeyError, TypeError) as e:
    raise UserError(f"{path}: cannot be read ({e}); delete it") from e
  return {"settings": settings, "figures": {name: {} for name in FEATURES}}


def _markdown(report: dict[str, Any]) -> str:
  """The whole page."""
  settings = report["settings"]
  parts = [
    "# Time by the length of sentences",
    f"SplitNER against Single(QA) with {len(TYPES)} entity types: seconds of "
    "1,000 sentences, in training (one epoch of each task) and in inference. "
    "SplitNER's are the span detector's and, as far as the column *classifier* "
    "says, the span classifier's. *Ratio* is Single(QA) / SplitNER: above 1 "
    "SplitNER is faster. Compare the columns with each other, not with "
    "another machine's.",
  ]
  for features, title in FEATURES.items():
    figures = report["figures"][features]
    if figures:
      parts += [f"## {title}", _table(figures)]
  parts += [
    "## What is measured",
    f"Made-up sentences of exactly so many sub-tokens; each word is one, and "
    f"a mention of {_MENTION_WORDS} words stands in every {_MENTION_EVERY} "
    "words, about as in usual corpora. The detector has one input for each "
    f"sentence, Single(QA) {len(TYPES)}, and the classifier one for each "
    "mention, with at most "
    f"{default_config.get_config().classifier.max_context} sub-tokens of its "
    "sentence: its time grows with the number of mentions, and they with the "
    "sentence. "
    "In inference it gets the gold mentions, for the weights are random, on "
    "which time does not depend; the encoder has the sizes of the backbone, "
    f"but {_QUESTION} positions more than the sentence has subwords, so that "
    f"none is cut. Batches have {_BATCH} examples on average; of long "
    "sentences the detector's and Single(QA)'s have fewer, both at most "
    f"{_BATCH_TOKENS:,} subwords or one sentence. Training is steps with the "
    "making of their batches; inference includes tokenisation and decoding. "
    "The sides take turns, step by step, and of each the median counts; "
    "compiling and the first turn are left out.",
    "## The paper's ratios",
    "From its Table 3, on its corpora, with its backbones, and a classifier "
    "that reads whole sentences:",
    _paper_table(),
    "## How it was made",
    f"`launch/reproduce.sh lengths`: sizes of the backbone "
    f"{settings['backbone']}, {settings['seconds']:g} s of measuring at each "
    f"length, and at least {settings['least_turns']} turns. Machine: "
    f"{settings['machine']}.",
  ]
  return "\n\n".join(parts) + "\n"


def _table(figures: dict[str, Any]) -> str:
  head = ["subwords", "examples of a batch", "turns"]
  for kind in ("training", "inference"):
    head += [f"{kind}: SplitNER", "classifier", "Single(QA)", "ratio"]
  rows = [head]
  for length in sorted(figures, key=int):
    row = figures[length]
    cells = [length, str(row["batch"]), str(row["turns"])]
    for kind in ("training", "inference"):
      each = row[kind]
      both = each["detector"] + each["classifier"]
      shown = [both, each["classifier"], each["tagger"], each["tagger"] / both]
      cells += [f"{s:.1f}" for s in shown[:3]] + [f"{shown[3]:.2f}"]
    rows.append(cells)
  return markdown_table(rows, left=0)


def _paper_table() -> str:
  rows = [["corpus", "types", "training: ratio", "inference: ratio"]]
  for name, types in _TYPE_COUNT.items():
    ratios = [
      seconds["single_qa"][name] / seconds["qa_qa"][name]
      for seconds in (paper.EPOCH_SECONDS, paper.INFERENCE_SECONDS)
    ]
    cells = [f"{ratio:.2f}" for ratio in ratios]
    rows.append([paper.DATASETS[name], str(types), *cells])
  return markdown_table(rows, left=1)
