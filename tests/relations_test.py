"""Relations: the reader, the questions, the scores, the baseline of types."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.reproduce import relations
from splitner_jax.reproduce.relations import (
  Pair,
  RelatedSentence,
  Relation,
  RelationTask,
)
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import TASK_KINDS
from splitner_jax.tasks.decoding import Decoding
from tests import tiny, tiny_tasks

_WORDS = ("Ada", "is", "at", "Bo", "what")
_ADA, _BO, _WHAT = Span(0, 1, "P"), Span(3, 4, "C"), Span(4, 5, "C")
_SENTENCE = RelatedSentence(
  _WORDS, (_ADA, _BO), relations=(Relation(0, 1, "at"),)
)


def _write(folder: pathlib.Path, **fields: Any) -> pathlib.Path:
  record = {
    "tokens": _WORDS,
    "entities": [s._asdict() for s in (_ADA, _BO)],
    "relations": [{"head": 0, "tail": 1, "label": "at"}],
  }
  path = folder / "rows.jsonl"
  path.write_text(json.dumps(record | fields) + "\n")
  return path


def test_reads_relations(tmp_path: pathlib.Path) -> None:
  [sentence] = relations.read(_write(tmp_path))
  assert sentence.spans == _SENTENCE.spans
  assert sentence.relations == _SENTENCE.relations
  assert sentence.source.endswith("rows.jsonl:1")


_AT = {"head": 0, "tail": 1, "label": "at"}


@pytest.mark.parametrize(
  ("fields", "fault"),
  [
    ({"relations": [_AT | {"tail": 2}]}, "a relation of 0 and 2, of 2 ent"),
    ({"relations": [_AT | {"tail": 0}]}, "a relation of 0 and 0"),
    ({"relations": [_AT | {"label": ""}]}, "0 and 1 have no label, or two"),
    ({"relations": [_AT, _AT]}, "0 and 1 have no label, or two"),
    ({"relations": [1]}, "not a JSON object"),
    ({"relations": 1}, "'relations' must be a list"),
    ({"entities": [s._asdict() for s in (_BO, _ADA)]}, "not in order"),
    ({"pos": []}, "key 'pos' is unknown"),
  ],
)
def test_refuses(
  tmp_path: pathlib.Path, fields: dict[str, Any], fault: str
) -> None:
  with pytest.raises(UserError, match=fault) as e:
    relations.read(_write(tmp_path, **fields))
  assert "rows.jsonl:1: " in str(e.value)


def test_all_ordered_pairs() -> None:
  assert relations.pairs((_ADA, _BO, _WHAT), (Relation(2, 0, "of"),)) == [
    Pair(_ADA, _BO, ""),
    Pair(_ADA, _WHAT, ""),
    Pair(_BO, _ADA, ""),
    Pair(_BO, _WHAT, ""),
    Pair(_WHAT, _ADA, "of"),
    Pair(_WHAT, _BO, ""),
  ]


def _task(folder: pathlib.Path, question: str) -> RelationTask:
  backbone = tiny.make_backbone(folder / "bert")
  return relations.relation_task(
    tiny_tasks.settings("classifier", question=question),
    tiny_tasks.ENCODER,
    Tokenizer(str(backbone), PairStyle(), max_length=200),
    ("at", "of"),
  )


def test_a_question_for_each_pair(tmp_path: pathlib.Path) -> None:
  """All in one example; no relation is a class to learn."""
  task = _task(tmp_path, "what {mention} is {mention} ?")
  examples, lost = task.training_examples([_SENTENCE, Sentence(_WORDS)])
  assert (len(examples), lost) == (1, 0)
  names = np.array(tiny_tasks.text(task.tokenizer, examples[0]).split())
  assert [" ".join(names[examples[0].parts == part]) for part in range(3)] == [
    "[CLS] a ##d ##a is a ##t b ##o what [SEP]",
    "[CLS] what a ##d ##a is b ##o ? [SEP]",
    "[CLS] what b ##o is a ##d ##a ? [SEP]",
  ]
  assert task.logit_names == ("at", "of", "")
  assert examples.labels.tolist() == [0, 2]
  assert examples.weights.tolist() == [1, 1]


def test_head_and_tail_are_told_apart(tmp_path: pathlib.Path) -> None:
  """By what is pooled beside the question: the head's tokens."""
  task = _task(tmp_path, "what {mention} is {mention} ?")
  [example], _ = task.training_examples([_SENTENCE])
  # [CLS] a ##d ##a is a ##t b ##o ...
  assert example.ranges.tolist() == [[1, 4], [7, 9]]


def test_the_baseline_is_not_told_the_second_mention(
  tmp_path: pathlib.Path,
) -> None:
  task = _task(tmp_path, "what is {mention} ?")
  examples, _ = task.training_examples([_SENTENCE])
  names = np.array(tiny_tasks.text(task.tokenizer, examples[0]).split())
  assert [" ".join(names[examples[0].parts == part]) for part in (1, 2)] == [
    "[CLS] what is a ##d ##a ? [SEP]",
    "[CLS] what is b ##o ? [SEP]",
  ]


def test_evaluation(tmp_path: pathlib.Path) -> None:
  task = _task(tmp_path, relations.QUESTION)
  logits = np.float32([[0, 5, 0], [0, 0, 5]])
  scores = task.evaluate(lambda _: logits, [_SENTENCE], Decoding())
  assert (scores["gold"], scores["predicted"], scores["correct"]) == (1, 1, 0)
  logits[0] = [5, 0, 0]
  scores = task.evaluate(lambda _: logits, [_SENTENCE], Decoding())
  assert scores["f1"] == 100


@pytest.mark.usefixtures("registered")
def test_a_folder_restores_it(tmp_path: pathlib.Path) -> None:
  relations.install()
  task = _task(tmp_path, relations.QUESTION)
  fields = task.describe()
  restored = TASK_KINDS[fields["kind"]].restore(
    "relations", fields, tiny_tasks.ENCODER, task.tokenizer
  )
  assert restored == task
  assert type(restored) is RelationTask


def test_no_relation_is_not_counted() -> None:
  gold = [[Pair(_ADA, _BO, "at"), Pair(_BO, _ADA, "")], []]
  other = _BO._replace(label="P")
  for predicted, counts in (
    ([[], []], (1, 0, 0)),
    ([[Pair(_ADA, _BO, "at"), Pair(_BO, _ADA, "")], []], (1, 1, 1)),
    ([[Pair(_ADA, _BO, "at"), Pair(_BO, _ADA, "of")], []], (1, 2, 1)),
    ([[Pair(_ADA, _BO, "of")], []], (1, 1, 0)),
    # Of another sentence, direction or type of mention.
    ([[], [Pair(_ADA, _BO, "at")]], (1, 1, 0)),
    ([[Pair(_BO, _ADA, "at")], []], (1, 1, 0)),
    ([[Pair(_ADA, other, "at")], []], (1, 1, 0)),
  ):
    scores = relations.score(gold, predicted)
    found = scores["gold"], scores["predicted"], scores["correct"]
    assert found == counts


def _rows(count: int, *given: Relation) -> list[RelatedSentence]:
  return [RelatedSentence(_WORDS, (_ADA, _BO, _WHAT), relations=given)] * count


def test_types_alone() -> None:
  """What is rare between two types is predicted only if that pays."""
  train = [
    *_rows(2, Relation(0, 1, "at"), Relation(0, 2, "at")),
    *_rows(1, Relation(0, 1, "of"), Relation(1, 2, "of")),
  ]
  found = relations.by_types(train, train)
  assert found.commonest == {("P", "C"): "at", ("C", "C"): "of"}
  assert found.shares == {("P", "C"): 4 / 6, ("C", "C"): 1 / 6}
  assert found.least == 1 / 6
  [row] = found.relate([(_ADA, _BO)])
  assert row == [Pair(_ADA, _BO, "at"), Pair(_BO, _ADA, "")]
  # Where all that is rare is right, it is predicted too.
  dev = _rows(1, *(Relation(*pair, "of") for pair in ((1, 2), (2, 1))))
  assert relations.by_types(train, dev).least == 0
