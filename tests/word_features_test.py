"""Features of whole words: their numbers, and where examples have them."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.inference import model_config, model_folder, model_schema
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.patterns import pattern_ids
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.inputs.word_features.affixes import Affixes
from splitner_jax.inputs.word_features.capitals import Capitals
from splitner_jax.inputs.word_features.gazetteer import Gazetteer
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import TokenTask
from splitner_jax.tasks.from_settings import parse_features, span_detection
from splitner_jax.tasks.tokens import LABELS_ON
from splitner_jax.training.cross_fitting import cross_fitted, with_false_spans
from splitner_jax.training.replacing import with_replaced
from tests import tiny, tiny_system, tiny_tasks


def _sentence(text: str, *mentions: str) -> Sentence:
  """Words, and the first place of each mention."""
  words = tuple(text.split())
  spans = []
  for mention in mentions:
    size = len(mention.split())
    [start, *_] = [
      i for i in range(len(words)) if " ".join(words[i : i + size]) == mention
    ]
    spans.append(Span(start, start + size, "place"))
  return Sentence(words, tuple(spans))


_TRAIN = [
  _sentence("she saw New York City", "New York City"),
  _sentence("new york is old", "new york"),
  _sentence("Oslo and New York", "Oslo", "New York"),
]
_ALL_OF = "char+shape+affix+capitals+gazetteer"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


def _detector(tokenizer: Tokenizer, features: str, **fields: Any) -> TokenTask:
  return span_detection(
    tiny_tasks.settings("detector", features=features, **fields),
    tiny_tasks.ENCODER,
    tokenizer,
    sentences=_TRAIN,
  )


def test_affixes_of_words() -> None:
  feature = Affixes.fit(_TRAIN)
  one, other = feature.numbers(Sentence(("Walking", "walked")), counted=True)
  # Prefixes of 2, 3 and 4 characters are the same, suffixes are not.
  assert one[:3] == other[:3]
  assert len({*one, *other}) == 9
  [(short, *_, end)] = feature.numbers(Sentence(("a",)), counted=False)
  assert short == end
  assert all(0 < n < size for n, size in zip(one, feature.sizes, strict=True))


def test_capitals_of_word_and_sentence() -> None:
  feature = Capitals({}, {})
  rows = feature.numbers(
    _sentence("Ada likes the NHL , mRNA 7 I"), counted=False
  )
  assert [case for case, *_ in rows] == [4, 2, 2, 3, 1, 5, 1, 4]
  # Three of six words with letters.
  assert {here for _, here, _ in rows} == {3}
  for text, expected in (("a b", 1), ("A b c d", 2), ("A B C d", 4), ("A", 5)):
    assert feature.numbers(_sentence(text), counted=False)[0][1] == expected
  assert feature.numbers(_sentence("7 ."), counted=False)[0] == (1, 1, 1)


def test_capitals_of_the_training_text_leave_the_sentence_out() -> None:
  feature = Capitals.fit(_TRAIN)
  # First words do not count, so `new` has a capital whenever it counts.
  assert feature.capital["new"] == 2
  assert "new" not in feature.small
  assert feature.small["york"] == 1

  def known(sentence: Sentence, *, counted: bool) -> list[int]:
    return [row[2] for row in feature.numbers(sentence, counted=counted)]

  # 1 unknown, 6 always with a capital, 5 in two of three.
  assert known(_sentence("New York Oslo"), counted=False) == [6, 5, 1]
  # Of York, one with and one without are left; nobody else says City.
  assert known(_TRAIN[0], counted=True) == [1, 1, 6, 4, 1]
  assert known(_TRAIN[0], counted=False) == [1, 2, 6, 5, 6]


def test_gazetteer_finds_the_longest() -> None:
  feature = Gazetteer.fit(_TRAIN)
  assert feature.counts == {"new york city": 1, "new york": 2, "oslo": 1}
  sentence = _sentence("NEW York city , OSLO new york new")
  rows = feature.numbers(sentence, counted=False)
  assert [place for place, _ in rows] == [2, 3, 4, 1, 2, 2, 4, 1]
  assert [often for _, often in rows] == [2, 2, 2, 1, 2, 3, 3, 1]


def test_gazetteer_does_not_tell_a_sentence_its_own_mentions() -> None:
  feature = Gazetteer.fit(_TRAIN)
  # What is left of New York City is New York, which others mention.
  rows = feature.numbers(_TRAIN[0], counted=True)
  assert rows == [(1, 1), (1, 1), (2, 3), (4, 3), (1, 1)]
  rows = feature.numbers(_TRAIN[2], counted=True)
  assert rows == [(1, 1), (1, 1), (2, 2), (4, 2)]
  # Nor one that it has twice.
  twice = _sentence("Ur , Ur", "Ur")
  twice = Sentence(twice.words, (Span(0, 1, "x"), Span(2, 3, "y")))
  feature = Gazetteer.fit([twice])
  assert feature.numbers(twice, counted=True) == [(1, 1)] * 3
  assert feature.numbers(twice, counted=False)[0] == (2, 3)


def test_gazetteer_of_nothing() -> None:
  feature = Gazetteer.fit([])
  assert feature.numbers(_TRAIN[1], counted=False) == [(1, 1)] * 4


def test_names_of_features() -> None:
  assert parse_features("x", "gazetteer+both+affix") == (
    *("char", "pattern", "affix", "gazetteer"),
  )
  with pytest.raises(UserError, match="has shape, the pattern of the whole"):
    parse_features("x", "both+shape")
  with pytest.raises(UserError, match=r"config\.x: 'affixes' is neither"):
    parse_features("x", "affixes")


@pytest.mark.parametrize("labels_on", LABELS_ON)
def test_numbers_are_at_the_targets(
  tokenizer: Tokenizer, labels_on: str
) -> None:
  task = _detector(tokenizer, "capitals+gazetteer", labels_on=labels_on)
  assert task.features == ()
  assert task.model.word_sizes == (*Capitals.sizes, *Gazetteer.sizes)
  for training in (True, False):
    examples, _ = task.encode(_TRAIN[::-1], training=training)
    expected = []
    for example, sentence in zip(examples, _TRAIN[::-1], strict=True):
      rows = [
        both[0] + both[1]
        for both in zip(
          *(
            f.numbers(sentence, counted=training)
            for f in task.reading.features.values()
          ),
          strict=True,
        )
      ]
      if training and labels_on == "all_tokens":
        # Of each subword its word's; of question and special tokens none.
        sizes = np.diff(tokenizer([sentence.words]).starts(0))
        rows = [
          row for row, n in zip(rows, sizes, strict=True) for _ in range(n)
        ]
        before = len(example.targets) - len(rows) - 1
        rows = [(0,) * 5] * before + rows + [(0,) * 5]
      expected += rows
    assert examples.words is not None
    assert examples.words.tolist() == [list(row) for row in expected]


def test_copies_with_other_mentions_are_not_counted(
  tokenizer: Tokenizer,
) -> None:
  """What they have was counted elsewhere: there is nothing to leave out."""
  rows = [
    _sentence("Apple rose", "Apple"),
    *(_sentence(f"{word} apple fell") for word in ("an", "the", "my")),
    _sentence("shares of Ford and Oslo fell", "Ford", "Oslo"),
    _sentence("shares of Ford and Ford fell", "Ford"),
  ]
  task = span_detection(
    tiny_tasks.settings("detector", features="capitals+gazetteer"),
    tiny_tasks.ENCODER,
    tokenizer,
    sentences=rows,
  )
  copies = with_replaced(rows, 1.0, 0)[len(rows) :]
  assert len(copies) == 3
  learnt, _ = task.encode([*rows, *copies], training=True)
  read, _ = task.encode(copies)
  assert learnt.words is not None
  assert read.words is not None
  of_copies = learnt.words[-len(read.words) :]
  assert of_copies.tolist() == read.words.tolist()
  assert np.all((of_copies > 0) & (of_copies < task.model.word_sizes))
  # The others are, as without copies.
  alone, _ = task.encode(rows, training=True)
  assert alone.words is not None
  assert learnt.words[: len(alone.words)].tolist() == alone.words.tolist()
  assert alone.words.tolist() != task.encode(rows)[0].words.tolist()


def test_numbers_in_windows(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer, "capitals")
  long = Sentence(("ab",) * 150 + ("AB",) * 50)
  examples, _ = task.encode([_TRAIN[0], long])
  assert len(examples) > 3
  for index in range(1, len(examples)):
    example = examples[index]
    case = examples.words[examples.target_slice(index), 0]
    words = example.first_word + np.arange(len(case))
    assert case.tolist() == np.where(words < 150, 2, 3).tolist()


def test_false_spans_of_training_sentences_are_not_told_either(
  tokenizer: Tokenizer,
) -> None:
  """Cross-fitting reads sentences that the gazetteer has counted."""
  task = _detector(tokenizer, "gazetteer")
  seen = []

  def forward(examples: Examples) -> np.ndarray:
    seen.append(examples.words.tolist())
    return np.zeros((len(examples.targets), 4), np.float32)

  cross_fitted(_TRAIN, 2, task, lambda *_: forward, 0.0)
  held = [row for rows in seen for row in rows]
  wanted = [
    [*row]
    for sentence in _TRAIN
    for row in task.reading.features["gazetteer"].numbers(
      sentence, counted=True
    )
  ]
  assert sorted(held) == sorted(wanted)
  seen.clear()
  with_false_spans(task, forward, _TRAIN, 0.0)
  assert sorted(seen[0]) != sorted(wanted)


def test_shape_is_the_pattern_of_the_whole_word(tokenizer: Tokenizer) -> None:
  sentence = Sentence(("Ada", "x2", "Bo"))
  patterns = {}
  for features in ("both", "char+shape"):
    task = _detector(tokenizer, features, question="")
    assert task.features == task.model.features == ("char", "pattern")
    examples, _ = task.encode([sentence])
    keys = TextKeys(examples, task.features, reference=False)
    of_tokens = keys.of("pattern", slice(None), np.arange(0))
    patterns[features] = keys.alphabets["pattern"].ids[of_tokens][:, :2]
    # The other reads the subwords still.
    assert examples[0].texts[1:4] == ["A", "d", "a"]

  def ids(*shapes: str) -> list[list[int]]:
    rows = [(*pattern_ids(shape), 0)[:2] for shape in shapes]
    return [list(row) for row in rows]

  # [CLS] A ##d ##a x ##2 B ##o [SEP]
  assert patterns["both"].tolist() == ids(*"CULLLdULS")
  assert patterns["char+shape"].tolist() == ids(
    *("C", "F", "F", "F", "ld", "ld", "F", "F", "S")
  )


def test_the_folder_keeps_what_was_counted(tmp_path: pathlib.Path) -> None:
  made = tiny_system.make(
    tmp_path / "backbones", features=_ALL_OF, sentences=_TRAIN
  )
  model_folder.save(tmp_path / "model", made)
  fields = json.loads((tmp_path / "model" / "config.json").read_text())
  # An older program refuses such a name.
  assert fields["tasks"]["detector"]["features"] == _ALL_OF.split("+")
  loaded = model_folder.load(str(tmp_path / "model"))
  assert loaded.tasks["detector"].reading == made.tasks["detector"].reading
  sentences = [*_TRAIN, Sentence(("Ur", "and", "new", "york"))]
  found, again = (
    m.predictor().forwards["detector"](m.tasks["detector"].encode(sentences)[0])
    for m in (made, loaded)
  )
  np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(
  ("name", "value", "place"),
  [
    ("gazetteer", {"counts": {"a": 0}}, r"word_features\.gazetteer\.counts\.a"),
    ("capitals", {"small": {}}, r"word_features\.capitals: 'capital' is a req"),
    ("affix", {"a": 1}, r"word_features\.affix"),
  ],
)
def test_damaged_counts(
  tmp_path: pathlib.Path, name: str, value: object, place: str
) -> None:
  made = tiny_system.make(tmp_path / "backbones", features=_ALL_OF)
  fields = model_config.describe(made, {"detector": ".", "classifier": "."})
  fields = json.loads(json.dumps(fields))
  model_schema.check(fields)
  fields["tasks"]["detector"]["word_features"][name] = value
  with pytest.raises(ValueError, match=place):
    model_schema.check(fields)
