"""Questions about mentions as examples, whose sentence they share."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.inputs.examples import Example, Examples
from splitner_jax.inputs.mention_examples import MentionQuestions
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from tests import tiny, tiny_tasks
from tests.tiny_tasks import WORDS

_LONGEST = 160
_ROBERTA = PairStyle(separators=2, second_type=0)
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_OWN = MentionQuestions(
  ("what", "is"), ("?",), "own", 128, "question", "question"
)
_SHARED = dataclasses.replace(_OWN, context="shared")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=_LONGEST)


def _encode(
  how: MentionQuestions,
  tokenizer: Tokenizer,
  sentences: Sequence[Sequence[str]],
  mentions: Sequence[Sequence[tuple[int, int]]],
) -> Examples:
  """A question about each mention by itself."""
  return how.encode(tokenizer, sentences, [[(m,) for m in r] for r in mentions])


def _parts(tokenizer: Tokenizer, example: Example) -> list[str]:
  """The text of each part."""
  names = tiny_tasks.text(tokenizer, example).split()
  return [
    " ".join(np.array(names)[example.parts == part])
    for part in range(example.parts.max() + 1)
  ]


def _questions(examples: Examples) -> Iterator[tuple[int, Example, int, int]]:
  """Of each target its mention, its example, and first and end token."""
  assert examples.asked is not None
  for i, example in enumerate(examples):
    asked = examples.asked[examples.target_slice(i)].tolist()
    for number, start in zip(asked, example.targets.tolist(), strict=True):
      same = np.flatnonzero(example.parts == example.parts[start])
      yield number, example, start, int(same[-1]) + 1


def test_a_sentence_and_all_of_its_questions(tokenizer: Tokenizer) -> None:
  examples = _encode(
    _SHARED,
    tokenizer,
    [("is",), WORDS, ("Bo",)],
    [[], [(1, 3), (4, 5)], [(0, 1)]],
  )
  assert [_parts(tokenizer, example) for example in examples] == [
    [
      "[CLS] what a ##d ##a b ##o is x ##2 [SEP]",
      "[CLS] what is a ##d ##a b ##o ? [SEP]",
      "[CLS] what is x ##2 ? [SEP]",
    ],
    ["[CLS] b ##o [SEP]", "[CLS] what is b ##o ? [SEP]"],
  ]
  first = examples[0]
  # A question goes on where the sentence ends, but for its [CLS].
  assert first.positions.tolist() == [
    *range(11),
    *(0, *range(11, 20)),
    *(0, *range(11, 17)),
  ]
  assert first.types.tolist() == [0] * 11 + [0] + [1] * 9 + [0] + [1] * 6
  assert first.targets.tolist() == [11, 21]
  names = tiny_tasks.text(tokenizer, first).split()
  assert [names[slice(*r)] for r in first.ranges] == [
    ["a", "##d", "##a", "b", "##o"],
    ["x", "##2"],
  ]
  assert first.ranges[:, 0].tolist() == [14, 24]
  assert first.texts[14:19] == ["A", "d", "a", "B", "o"]
  assert examples.asked.tolist() == [0, 1, 2]
  assert examples.sentences.tolist() == [1, 2]
  assert not examples.weights.any()


def test_positions_and_ranges_of_the_sentence(tokenizer: Tokenizer) -> None:
  how = dataclasses.replace(_SHARED, positions="sentence", ranges="sentence")
  [example] = _encode(how, tokenizer, [WORDS], [[(1, 3), (4, 5)]])
  # [CLS] what is ... ? [SEP]
  assert example.positions[11:21].tolist() == [
    *(0, 11, 12),
    *(2, 3, 4, 5, 6),
    *(18, 19),
  ]
  assert example.positions[21:].tolist() == [0, 11, 12, 8, 9, 15, 16]
  assert example.ranges.tolist() == [[2, 7], [8, 10]]


def test_separators_of_roberta(
  tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(tokenizer, "pairs", _ROBERTA)
  [example] = _encode(_SHARED, tokenizer, [("Bo", "is")], [[(0, 1)]])
  assert _parts(tokenizer, example) == [
    "[CLS] b ##o is [SEP]",
    "[CLS] [SEP] what is b ##o ? [SEP]",
  ]
  assert example.positions.tolist() == [*range(5), 0, *range(5, 12)]
  assert not example.types.any()
  assert example.ranges.tolist() == [[9, 11]]
  # The same tokens at the same positions as in the form of the paper.
  [own] = _encode(_OWN, tokenizer, [("Bo", "is")], [[(0, 1)]])
  assert own.ids[5:].tolist() == example.ids[6:].tolist()
  assert own.positions[5:].tolist() == example.positions[6:].tolist()


def test_a_window_for_each_mention_of_a_long_sentence(
  tokenizer: Tokenizer,
) -> None:
  how = dataclasses.replace(_SHARED, max_context=10)
  mentions = [(0, 1), (25, 26), (8, 10), (12, 13), (9, 11)]
  examples = _encode(how, tokenizer, [_LETTERS], [mentions])
  # Windows are a-j, f-o, k-t, p-y, q-z or so; overlaps are five letters.
  read = [_parts(tokenizer, example)[0].split()[1:-1] for example in examples]
  assert [each[0] for each in read] == ["a", "f", "u"]
  assert [len(each) for each in read] == [10, 10, 6]
  assert examples.first_words.tolist() == [0, 5, 20]
  assert examples.asked.tolist() == [0, 2, 3, 4, 1]
  asked = [_parts(tokenizer, example)[1:] for example in examples]
  assert asked == [
    ["[CLS] what is a ? [SEP]"],
    [
      "[CLS] what is i j ? [SEP]",
      "[CLS] what is m ? [SEP]",
      "[CLS] what is j k ? [SEP]",
    ],
    ["[CLS] what is z ? [SEP]"],
  ]


def test_more_questions_than_an_input_holds(tokenizer: Tokenizer) -> None:
  mentions = [(i, j) for i in range(26) for j in range(i + 1, i + 4) if j < 27]
  examples = _encode(_SHARED, tokenizer, [_LETTERS], [mentions])
  assert 3 < len(examples) < 10
  assert examples.asked.tolist() == list(range(len(mentions)))
  for example in examples:
    parts = _parts(tokenizer, example)
    assert parts[0] == f"[CLS] {' '.join(_LETTERS)} [SEP]"
    assert len(example.ids) <= _LONGEST
  # Each is as full as can be.
  assert all(len(e.ids) > _LONGEST - 9 for e in list(examples)[:-1])


def test_a_mention_longer_than_what_is_read(tokenizer: Tokenizer) -> None:
  how = dataclasses.replace(
    _SHARED, positions="sentence", ranges="sentence", max_context=10
  )
  [example] = _encode(how, tokenizer, [_LETTERS], [[(1, 25)]])
  size = np.count_nonzero(example.parts == 0)
  assert size == 12
  window = tiny_tasks.text(tokenizer, example).split()[1:11]
  # Of the windows, it fills one in the middle.
  assert example.ranges.tolist() == [[1, 11]]
  mention = example.positions[size + 3 : -2].tolist()
  start = _LETTERS.index(window[0])
  assert mention == [min(max(i - start, 0), 9) + 1 for i in range(1, 25)]


@pytest.mark.parametrize("how", [_OWN, _SHARED])
def test_a_question_longer_than_what_is_left(
  tokenizer: Tokenizer, how: MentionQuestions
) -> None:
  """What it names is read before its other words, a word of it at least."""
  sentence = ("x",) * 77 + ("ab", "c")
  # 76 tokens are left to the question.
  for many, named in ((10, "a ##b c"), (75, "a ##b"), (200, "a ##b")):
    asks = dataclasses.replace(how, before=("is",) * many)
    [example] = _encode(asks, tokenizer, [sentence], [[(77, 79)]])
    assert len(example.ids) <= _LONGEST
    assert example.ranges is not None
    names = tiny_tasks.text(tokenizer, example).split()
    [(start, end)] = example.ranges.tolist()
    assert " ".join(names[start:end]) == named
    assert names[start - 1] == "is"
  # So is each of two, or as much of it as there is room for.
  both = dataclasses.replace(
    how, before=("is",) * 200, between=(("an",) * 9,), after=()
  )
  [example] = both.encode(tokenizer, [sentence], [[((77, 78), (78, 79))]])
  assert tiny_tasks.text(tokenizer, example).endswith(" is a ##b c [SEP]")
  long = "y" * 64, "z" * 64
  [example] = both.encode(tokenizer, [long], [[((0, 1), (1, 2))]])
  assert len(example.ids) <= _LONGEST
  asked = tiny_tasks.text(tokenizer, example).split("[SEP]")[-2].split()
  assert "is" not in asked
  assert asked.count("##y") == asked.count("##z") > 40


@pytest.mark.parametrize("pairs", [PairStyle(), _ROBERTA])
def test_random_sentences(
  pairs: PairStyle, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
  """Each mention once, nothing too long, all as in the paper's form."""
  monkeypatch.setattr(tokenizer, "pairs", pairs)
  rng = np.random.default_rng(0)
  sentences, mentions = [], []
  for sentence in tiny_tasks.random_sentences(60, longest=50):
    words = len(sentence.words)
    spans = [(s.start, s.end) for s in sentence.spans]
    for _ in range(int(rng.integers(0, 6))):  # Of any length, overlapping.
      start = int(rng.integers(0, words))
      spans.append((start, int(rng.integers(start, words)) + 1))
    sentences.append(sentence.words)
    mentions.append(spans)
  total = sum(map(len, mentions))
  own = _encode(_OWN, tokenizer, sentences, mentions)
  owner = np.repeat(np.arange(len(sentences)), [len(m) for m in mentions])
  assert own.asked.tolist() == list(range(total)) == list(range(len(own)))
  compared = 0
  for limit in (1, 30, 64, 400):
    how = dataclasses.replace(_SHARED, max_context=limit)
    examples = _encode(how, tokenizer, sentences, mentions)
    assert examples.lengths.max() <= _LONGEST
    assert sorted(examples.asked.tolist()) == list(range(total))
    for number, example, start, end in _questions(examples):
      assert example.sentence == owner[number]
      alone = own[number]
      size = np.count_nonzero(example.parts == 0)
      # A window of its own, or a question that is cut, is not the same.
      words = tokenizer([sentences[example.sentence]]).sizes()[0]
      if words > min(limit, _LONGEST // 2) or len(alone.ids) > _LONGEST - 2:
        continue
      compared += 1
      assert size == words + 2
      read = tuple(
        np.concatenate([column[:size], column[start + 1 : end]]).tolist()
        for column in (example.ids, example.positions, example.types)
      )
      assert read == tuple(
        column.tolist() for column in (alone.ids, alone.positions, alone.types)
      )
      place = example.targets.tolist().index(start)
      moved = example.ranges[place] - (start + 1 - size)
      assert moved.tolist() == alone.ranges[0].tolist()
  assert compared > 100


def test_no_mentions(tokenizer: Tokenizer) -> None:
  for how in (_OWN, dataclasses.replace(_SHARED, positions="sentence")):
    for sentences in ([], [WORDS]):
      examples = _encode(how, tokenizer, sentences, [[] for _ in sentences])
      assert len(examples) == len(examples.ids) == len(examples.asked) == 0


def _pairs(**fields) -> MentionQuestions:
  return dataclasses.replace(_SHARED, between=(("and",),), **fields)


def test_a_question_about_two_mentions(tokenizer: Tokenizer) -> None:
  """In the order in which they are asked for, wherever they stand."""
  there, back = ((1, 3), (4, 5)), ((4, 5), (1, 3))
  [example] = _pairs().encode(tokenizer, [WORDS], [[there, back]])
  assert _parts(tokenizer, example) == [
    "[CLS] what a ##d ##a b ##o is x ##2 [SEP]",
    "[CLS] what is a ##d ##a b ##o a ##n ##d x ##2 ? [SEP]",
    "[CLS] what is x ##2 a ##n ##d a ##d ##a b ##o ? [SEP]",
  ]
  # What is pooled is the first one, wherever it stands.
  names = np.array(tiny_tasks.text(tokenizer, example).split())
  assert example.ranges is not None
  assert [" ".join(names[a:b]) for a, b in example.ranges.tolist()] == [
    "a ##d ##a b ##o",
    "x ##2",
  ]


def test_both_mentions_have_their_positions(tokenizer: Tokenizer) -> None:
  how = _pairs(positions="sentence", ranges="sentence")
  [example] = how.encode(tokenizer, [WORDS], [[((4, 5), (1, 3))]])
  # [CLS] what is x ##2 and a ##d ##a b ##o ? [SEP]
  assert example.positions[11:].tolist() == [
    *(0, 11, 12),
    *(8, 9),
    *(15, 16, 17),
    *(2, 3, 4, 5, 6),
    *(23, 24),
  ]
  assert example.ranges is not None
  assert example.ranges.tolist() == [[8, 10]]


def test_what_a_task_makes_of_its_settings(tokenizer: Tokenizer) -> None:
  sentence = Sentence(WORDS, (Span(1, 3, "person"), Span(4, 5, "thing")))
  for given, (context, positions, pooling) in (
    ({}, ("shared", "sentence", "cls+span")),
    ({"context": "own"}, ("own", "question", "cls")),
    ({"pooling": "mention"}, ("shared", "sentence", "mention")),
    ({"checkpoint": "there"}, ("own", "question", "cls")),
    (
      {"checkpoint": "there", "epochs": 1, "context": "shared"},
      ("shared", "question", "cls"),
    ),
  ):
    task = tiny_tasks.classifier(tokenizer, **given)
    assert task.context == context
    assert task.positions == positions
    assert task.model.pooling == pooling
    examples, _ = task.training_examples([sentence])
    assert len(examples) == (1 if context == "shared" else 2)
    assert task.batch_items(examples) == 2
    # The type that it does not have counts nothing.
    assert examples.labels.tolist() == [1, 0]
    assert examples.weights.tolist() == [1, 0]
    assert (examples.ranges is None) == (pooling == "cls")


def test_a_number_as_context(
  tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
  """It was the most subwords that are read."""
  task = tiny_tasks.classifier(tokenizer, context=10)
  assert (task.context, task.max_context) == ("shared", 10)
  assert "10 is taken for config.classifier.max_context" in caplog.text
  caplog.clear()
  task = tiny_tasks.classifier(tokenizer, context=20, checkpoint="there")
  assert (task.context, task.max_context) == ("own", 20)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"context": "both"}, "context: 'both' is none of shared, own"),
    ({"positions": "x"}, "positions: 'x' is none of sentence, question"),
    ({"pooling": "x"}, r"pooling: 'x' is none of cls, mention, cls\+span"),
    (
      {"context": "shared", "checkpoint": "there", "epochs": 0},
      "context: shared is not what a checkpoint has learned",
    ),
  ],
)
def test_settings_without_a_meaning(
  tokenizer: Tokenizer, fields: dict, message: str
) -> None:
  with pytest.raises(UserError, match=f"config.classifier.{message}"):
    tiny_tasks.classifier(tokenizer, **fields)
