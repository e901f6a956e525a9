"""Nested mentions: the reader, the levels, their scores, the detector."""

import json
import pathlib

import numpy as np
import pytest

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.reproduce import nested
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import TASK_KINDS
from tests import tiny, tiny_tasks

_WORDS = tuple("abcdef")
_SPANS = (Span(0, 5, "x"), Span(0, 2, "y"), Span(3, 5, "x"), Span(3, 4, "z"))
_SENTENCE = Sentence(_WORDS, tuple(sorted(_SPANS)))


def _read(folder: pathlib.Path, *entities: Span) -> list[Sentence]:
  rows = [{"tokens": _WORDS, "entities": [s._asdict() for s in entities]}]
  path = folder / "rows.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return nested.read(path)


def test_reads_mentions_within_mentions(tmp_path: pathlib.Path) -> None:
  [sentence] = _read(tmp_path, *_SPANS)
  assert sentence.words == _WORDS
  assert sentence.spans == _SENTENCE.spans
  assert sentence.source == f"{tmp_path / 'rows.jsonl'}:1"
  [empty] = _read(tmp_path)
  assert (empty.words, empty.spans) == (_WORDS, ())


@pytest.mark.parametrize(
  ("entities", "fault"),
  [
    ((Span(0, 3, "x"), Span(2, 4, "y")), "'x' and 'y' at word 2 cross"),
    ((Span(1, 3, "x"), Span(1, 3, "y")), "are of the same words"),
    ((Span(1, 7, "x"),), "1 to 7 is empty or outside 0 to 6"),
  ],
)
def test_refuses(
  tmp_path: pathlib.Path, entities: tuple[Span, ...], fault: str
) -> None:
  with pytest.raises(UserError, match=fault) as e:
    _read(tmp_path, *entities)
  assert "rows.jsonl:1: " in str(e.value)


@pytest.mark.parametrize(
  ("line", "fault"), [("[1]", "not a JSON object"), ("{", "not JSON")]
)
def test_refuses_lines(tmp_path: pathlib.Path, line: str, fault: str) -> None:
  path = tmp_path / "rows.jsonl"
  path.write_text(line + "\n")
  with pytest.raises(UserError, match=f"rows.jsonl:1: {fault}"):
    nested.read(path)


def test_levels() -> None:
  assert nested.depths(_SPANS) == [0, 1, 1, 2]
  assert nested.outermost(_SENTENCE).spans == (Span(0, 5, "x"),)
  assert nested.outermost(_SENTENCE).words == _WORDS


def test_of_spans_that_cross_the_likelier_is_kept() -> None:
  outer, inner = ScoredSpan(0, 4, "first", 0.7), ScoredSpan(1, 3, "second", 0.8)
  crossing = ScoredSpan(3, 5, "first", 0.75)
  twice = inner._replace(label="third", score=0.6)
  assert nested.nest([outer, crossing, twice, inner]) == [inner, crossing]
  assert nested.nest([twice, inner, outer]) == [outer, inner]


def test_scores_by_level() -> None:
  predicted = [
    Span(0, 5, "x"),  # Right, level 1.
    Span(3, 4, "z"),  # Right, level 3, though its place here is level 2.
    Span(1, 2, "y"),  # Wrong, level 2.
    Span(5, 6, "x"),  # Wrong, level 1.
  ]
  scores = nested.score([_SENTENCE.spans], [predicted])
  assert (scores["gold"], scores["predicted"], scores["correct"]) == (4, 4, 2)
  assert [
    (level["gold"], level["predicted"], level["correct"])
    for level in scores["levels"]
  ] == [(1, 2, 1), (2, 1, 0), (1, 1, 1)]
  assert scores["levels"][0]["f1"] == pytest.approx(200 / 3)


@pytest.fixture
def task(tmp_path: pathlib.Path) -> nested.LevelTask:
  folder = tiny.make_backbone(tmp_path / "bert")
  tokenizer = Tokenizer(str(folder), PairStyle(), max_length=200)
  settings = tiny_tasks.settings("tagger", question=nested.QUESTION)
  return nested.level_task(settings, tiny_tasks.ENCODER, tokenizer)


def test_a_question_for_each_level(task: nested.LevelTask) -> None:
  """What it learns of a sentence, decoded, is the sentence's mentions."""
  examples, lost = task.training_examples([_SENTENCE])
  assert (len(examples), lost) == (3, 0)
  assert [" ".join(words) for words in task.questions] == [
    f"Extract entity spans of the {level} level from the following text ."
    for level in ("first", "second", "third")
  ]
  logits = 9.0 * np.eye(len(task.logit_names))[examples.labels]
  [found] = task.decode(examples, logits, [_SENTENCE])
  assert [(s.start, s.end) for s in nested.nest(found)] == [
    (s.start, s.end) for s in _SENTENCE.spans
  ]
  scores = task.evaluate(
    lambda _: logits.astype(np.float32), [_SENTENCE], tiny_tasks.Decoding()
  )
  assert scores["f1"] == 100


def test_mentions_that_are_too_deep_are_lost(task: nested.LevelTask) -> None:
  spans = tuple(Span(0, end, "x") for end in range(1, 6))
  _, lost = task.training_examples([Sentence(_WORDS, spans)])
  assert lost == 2


@pytest.mark.usefixtures("registered")
def test_a_folder_restores_it(task: nested.LevelTask) -> None:
  nested.install()
  fields = task.describe()
  restored = TASK_KINDS[fields["kind"]].restore(
    task.name, fields, tiny_tasks.ENCODER, task.tokenizer
  )
  assert restored == task
  assert type(restored) is nested.LevelTask
  # No level is an entity type.
  assert restored.labels == ()
