"""Relations between mentions: a question over each pair, in shared context.

SplitNER finds and names the mentions, and a third task is asked about each
ordered pair of them. All questions about a sentence see it, which is read once.
"""

import collections
import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from ml_collections import ConfigDict

from splitner_jax.data import jsonl, records
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import metrics
from splitner_jax.inputs import questions
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.mention_examples import Asked
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.heads import PooledClassifier
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks import TASK_KINDS
from splitner_jax.tasks.base import ForwardFn
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.mentions import NO_ENTITY, MentionTask
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import TwoStepSystem, register
from splitner_jax.tasks.systems.base import AnyTask

QUESTION = "What is between {mention} and {mention} ?"
ONE_MENTION = "What is {mention} ?"
"""The question of a baseline, which is not told the second one of a pair."""
NO_RELATION = NO_ENTITY
TASK = "relations"
"""Its name, the config's part of it, and its kind in a model's folder."""
_KEYS = ("tokens", "entities", "relations")


class Relation(NamedTuple):
  """Two mentions, by their numbers in a sentence, and what is between them."""

  head: int
  tail: int
  label: str


class Pair(NamedTuple):
  """Two mentions of a sentence, and what is between them; "": nothing."""

  head: Span | ScoredSpan
  tail: Span | ScoredSpan
  label: str


@dataclasses.dataclass(frozen=True)
class RelatedSentence(Sentence):
  """A sentence with its mentions, and what is between these."""

  relations: tuple[Relation, ...] = ()


def read(path: str | os.PathLike[str]) -> list[RelatedSentence]:
  """Reads `{"tokens": [...], "entities": [...], "relations": [...]}` a line.

  A relation is `{"head", "tail", "label"}`, the numbers of two entities in
  their list, which has them in the order of the sentence.

  Raises:
    UserError: the file cannot be read, or a line is not as described.
  """
  return [_sentence(record, where) for where, record in jsonl.objects(path)]


def _sentence(given: object, where: str) -> RelatedSentence:
  record = records.checked(given, _KEYS, where)
  relations = records.field(record, "relations", list, where)
  fields = {key: record[key] for key in record if key != "relations"}
  plain = records.sentence(fields, where)
  count = len(plain.spans)
  if fields["entities"] != sorted(fields["entities"], key=lambda e: e["start"]):
    raise UserError(f"{where}: entities are not in order; sort them")
  found: dict[tuple[int, int], Relation] = {}
  for relation in relations:
    records.checked(relation, Relation._fields, where)
    head, tail = (
      records.field(relation, key, int, where) for key in ("head", "tail")
    )
    label = records.field(relation, "label", str, where)
    if not (0 <= head < count and 0 <= tail < count) or head == tail:
      raise UserError(
        f"{where}: a relation of {head} and {tail}, of {count} entities; give "
        "the numbers of two, from 0"
      )
    if not label or (head, tail) in found:
      raise UserError(
        f"{where}: {head} and {tail} have no label, or two; give one"
      )
    found[head, tail] = Relation(head, tail, label)
  return RelatedSentence(
    plain.words,
    plain.spans,
    plain.pos,
    plain.source,
    tuple(found.values()),
  )


def pairs(
  mentions: Sequence[Span | ScoredSpan], relations: Sequence[Relation] = ()
) -> list[Pair]:
  """All ordered pairs of a sentence's mentions, with what is between them."""
  labels = {(head, tail): label for head, tail, label in relations}
  return [
    Pair(mentions[i], mentions[j], labels.get((i, j), NO_RELATION))
    for i, j in itertools.permutations(range(len(mentions)), 2)
  ]


def gold_pairs(sentences: Sequence[Sentence]) -> list[list[Pair]]:
  """Of each sentence, the pairs of its gold mentions."""
  return [pairs(s.spans, getattr(s, "relations", ())) for s in sentences]


@dataclasses.dataclass(frozen=True)
class RelationTask(MentionTask):
  """Names what is between two mentions; `labels` are the relations."""

  def named(self, mention: Pair) -> Asked:
    """The head, and the tail if the question has a place for it."""
    both = mention.head[:2], mention.tail[:2]
    return both[: self.question.count(questions.MENTION)]

  def probe(self) -> Examples:
    span = Span(0, 1, "")
    return self.encode([Sentence(("a",))], [[Pair(span, span, "")]])

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    """Asks about each ordered pair of gold mentions."""
    return self.encode(sentences, gold_pairs(sentences)), 0

  def relate(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[list[Pair]]:
    """Every pair of the mentions, with the likeliest label."""
    asked = [pairs(row) for row in mentions]
    labels = iter(self.classes(self.logits(forward, sentences, asked)))
    return [
      [pair._replace(label=next(labels)[0]) for pair in row] for row in asked
    ]

  def evaluate(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    decoding: Decoding,
  ) -> Json:
    """Scores between gold mentions; see `score`."""
    del decoding
    found = self.relate(forward, sentences, [s.spans for s in sentences])
    return score(gold_pairs(sentences), found)

  def describe(self) -> Json:
    return super().describe() | {"kind": TASK}


def relation_task(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  labels: Sequence[str],
) -> RelationTask:
  """The task that names what is between mentions, in shared context.

  Args:
    settings: `config.relations` with the common fields filled in.
    encoder: the backbone's sizes.
    tokenizer: the backbone's tokenizer.
    labels: the relations, in the order of the logits.
  """
  return RelationTask(
    name=TASK,
    model=PooledClassifier(encoder, len(labels) + 1, "cls+span"),
    tokenizer=tokenizer,
    labels=tuple(labels),
    question=tuple(settings.question.split()),
    context="shared",
    max_context=settings.max_context,
    # They say where the two mentions are, and not which is the head: that is
    # told by its tokens, which are pooled.
    positions="sentence",
    none_class=True,
  )


def install() -> None:
  """Makes the kind known, so that it trains, and its models load."""
  TASK_KINDS[TASK] = RelationTask
  register(RelationSystem())


class RelationSystem(TwoStepSystem):
  """SplitNER, and what is between its mentions.

  The config has a part `relations`, like `classifier`, whose `relations` names
  them with commas between. As a tagger it is SplitNER; `RelationTask.relate`
  says what is between the mentions.
  """

  name: ClassVar[str] = "relations"
  title: ClassVar[str] = "SplitNER with relations"
  task_names: ClassVar[tuple[str, ...]] = (
    *TwoStepSystem.task_names,
    TASK,
  )

  def make(self, source: TaskSource) -> AnyTask:
    if source.name != TASK:
      return super().make(source)
    return relation_task(
      source.settings,
      source.encoder,
      source.tokenizer,
      source.settings.relations.split(","),
    )


Mention = tuple[int, int, str]


def score(
  gold: Sequence[Sequence[Pair]], predicted: Sequence[Sequence[Pair]]
) -> Json:
  """Micro scores of relations, and those of each, as of `metrics.score`.

  No relation is a class that is not counted: a relation that is predicted where
  there is none is wrong, and one for which none is predicted is missed. Right
  is a relation whose two mentions are right with their types.

  Args:
    gold, predicted: the pairs of each sentence; not all have to be there.
  """
  wanted, found = _labels(gold), _labels(predicted)
  keys = sorted(wanted.keys() | found.keys())
  return metrics.score_labels(
    [wanted.get(key, NO_RELATION) for key in keys],
    [found.get(key, NO_RELATION) for key in keys],
  )


def _labels(
  rows: Sequence[Sequence[Pair]],
) -> dict[tuple[int, Mention, Mention], str]:
  return {
    (i, pair.head[:3], pair.tail[:3]): pair.label
    for i, row in enumerate(rows)
    for pair in row
  }


@dataclasses.dataclass(frozen=True)
class ByTypes:
  """A baseline that knows of two mentions their types alone.

  Attributes:
    commonest: of two types, the relation that they have most often.
    shares: in what part of such pairs.
    least: of these shares, for a relation to be predicted.
  """

  commonest: Mapping[tuple[str, str], str]
  shares: Mapping[tuple[str, str], float]
  least: float = 0.0

  def relate(
    self, mentions: Sequence[Sequence[Span | ScoredSpan]]
  ) -> list[list[Pair]]:
    """See `RelationTask.relate`."""
    return [
      [
        pair._replace(label=self._label((pair.head.label, pair.tail.label)))
        for pair in pairs(row)
      ]
      for row in mentions
    ]

  def _label(self, types: tuple[str, str]) -> str:
    known = self.shares.get(types, 0.0) > self.least
    return self.commonest[types] if known else NO_RELATION


def by_types(train: Sequence[Sentence], dev: Sequence[Sentence]) -> ByTypes:
  """Counts on train; the least share is the one that is best on dev."""
  counts: dict[tuple[str, str], collections.Counter[str]] = (
    collections.defaultdict(collections.Counter)
  )
  for row in gold_pairs(train):
    for pair in row:
      counts[pair.head.label, pair.tail.label][pair.label] += 1
  commonest, shares = {}, {}
  for types, each in counts.items():
    total = each.total()
    del each[NO_RELATION]
    for label, count in each.most_common(1):
      commonest[types], shares[types] = label, count / total
  gold, spans = gold_pairs(dev), [s.spans for s in dev]
  tried = [ByTypes(commonest, shares, s) for s in (0.0, *shares.values())]
  return max(tried, key=lambda b: score(gold, b.relate(spans))["f1"])
