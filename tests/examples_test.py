"""Tokenising, joining, and cutting sentences into windows."""

import itertools
import json
import pathlib

import numpy as np
import pytest
import tiny
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from splitner_jax.inputs.tokenizer import (
  MAX_WORD_PIECES,
  Pieces,
  Tokenizer,
  context_window,
  stitch,
  windows,
)
from splitner_jax.errors import UserError


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), is_roberta=False, max_length=512)


def _make_roberta(
  folder: pathlib.Path, *, reference: bool = False, **config: bool
) -> Tokenizer:
  """Byte-level BPE that, as published ones, adds no leading space itself."""
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.train_from_iterator(
    [" the cat saw the cat"] * 9,
    trainers.BpeTrainer(
      vocab_size=300,
      special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    ),
  )
  tokenizer.save(str(folder / "tokenizer.json"))
  (folder / "tokenizer_config.json").write_text(
    json.dumps(
      {
        "tokenizer_class": "RobertaTokenizer",
        "add_prefix_space": False,
        **config,
      }
    )
  )
  return Tokenizer(str(folder), True, 512, reference)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return _make_roberta(tmp_path_factory.mktemp("roberta"))


def _names(tokenizer: Tokenizer, ids: np.ndarray) -> list[str]:
  return tokenizer.fast.convert_ids_to_tokens(ids.tolist())


def test_folder_without_a_tokenizer(tmp_path: pathlib.Path) -> None:
  with pytest.raises(UserError, match="no tokenizer could be read") as caught:
    Tokenizer(str(tmp_path), is_roberta=False, max_length=512)
  assert str(tmp_path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_truncation_of_the_file_is_switched_off(
  tmp_path: pathlib.Path,
) -> None:
  folder = tiny.make_backbone(tmp_path)
  stored = json.loads((folder / "tokenizer.json").read_text())
  assert stored["truncation"]["max_length"] < 200
  stored["padding"] = {
    "strategy": {"Fixed": 300},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
  }
  (folder / "tokenizer.json").write_text(json.dumps(stored))
  tokenizer = Tokenizer(str(folder), is_roberta=False, max_length=512)
  [pieces] = tokenizer([["what"] * 200])
  assert _names(tokenizer, pieces.ids) == ["what"] * 200
  np.testing.assert_array_equal(pieces.starts, np.arange(201))


def test_bert_pieces(bert: Tokenizer) -> None:
  [pieces] = bert([["What", "É2x", "is", "B!"]])
  assert _names(bert, pieces.ids) == [
    "what", "e", "##2", "##x", "is", "b", "!",
  ]  # fmt: skip
  # As written: upper case, the accent, no continuation marks.
  assert pieces.texts == ["What", "É", "2", "x", "is", "B", "!"]
  assert pieces.starts.tolist() == [0, 1, 4, 5, 7]
  assert pieces.ids.dtype == pieces.starts.dtype == np.int32


def test_roberta_pieces(roberta: Tokenizer) -> None:
  [pieces] = roberta([["cat", "saw", "Th", "é"]])
  # Every word has its space, the first one too.
  assert _names(roberta, pieces.ids) == [
    "Ġcat", "Ġsaw", "Ġ", "T", "h", "Ġ", "Ã", "©",
  ]  # fmt: skip
  assert pieces.texts == ["cat", "saw", "", "T", "h", "", "é", "é"]
  assert pieces.starts.tolist() == [0, 1, 2, 5, 8]


def test_spaces_are_no_characters_of_a_token(tmp_path: pathlib.Path) -> None:
  tokenizer = _make_roberta(tmp_path, trim_offsets=False)
  [pieces] = tokenizer([["the cat", "saw"]])
  assert _names(tokenizer, pieces.ids) == ["Ġthe", "Ġcat", "Ġsaw"]
  assert pieces.texts == ["the", "cat", "saw"]


def test_roberta_pieces_of_the_reference(tmp_path: pathlib.Path) -> None:
  """Words without their space."""
  tokenizer = _make_roberta(tmp_path, reference=True)
  [pieces] = tokenizer([["cat", "é"]])
  assert _names(tokenizer, pieces.ids) == ["cat", "Ã", "©"]
  assert pieces.texts == ["cat", "é", "é"]
  assert pieces.starts.tolist() == [0, 1, 3]


@pytest.mark.parametrize("dropped", ["\u200b", "\u00ad", "\u200d\ufeff"])
def test_word_that_the_tokenizer_drops(bert: Tokenizer, dropped: str) -> None:
  [pieces] = bert([["is", dropped, "what"]])
  assert _names(bert, pieces.ids) == ["is", "[UNK]", "what"]
  assert pieces.texts == ["is", dropped, "what"]
  assert pieces.starts.tolist() == [0, 1, 2, 3]


def test_long_word_is_cut(bert: Tokenizer) -> None:
  [pieces] = bert([["x" * 90, "is"]])
  assert pieces.starts.tolist() == [0, MAX_WORD_PIECES, MAX_WORD_PIECES + 1]
  assert pieces.texts[-1] == "is"


def test_no_words_and_no_sentences(bert: Tokenizer) -> None:
  assert bert([]) == []
  [pieces] = bert([[]])
  assert (len(pieces.ids), pieces.texts, pieces.starts.tolist()) == (0, [], [0])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_sentence_does_not_depend_on_its_neighbours(
  family: str, request: pytest.FixtureRequest
) -> None:
  """Words of random characters, one by one and all sentences at once."""
  tokenizer = request.getfixturevalue(family)
  rng = np.random.default_rng(0)
  characters = list("abcXYZ019.,-_é日😀\u200b'")
  sentences = [
    [
      "".join(rng.choice(characters, rng.integers(1, 7)))
      for _ in range(rng.integers(1, 12))
    ]
    for _ in range(40)
  ]
  for words, pieces in zip(sentences, tokenizer(sentences), strict=True):
    assert len(pieces.ids) == len(pieces.texts) == pieces.starts[-1]
    assert len(pieces.starts) == len(words) + 1
    assert np.all(np.diff(pieces.starts) >= 1)
    for w, word in enumerate(words):
      [alone], part = tokenizer([[word]]), pieces.words(w, w + 1)
      np.testing.assert_array_equal(alone.ids, part.ids)
      assert alone.texts == part.texts
      assert all(text in word for text in part.texts)
      assert part.starts.tolist() == [0, len(part.ids)]


def test_words_of_pieces() -> None:
  pieces = Pieces(np.arange(10, 16), list("abcdef"), np.array([0, 2, 3, 5, 6]))
  part = pieces.words(1, 3)
  assert part.ids.tolist() == [12, 13, 14]
  assert part.texts == ["c", "d", "e"]
  assert part.starts.tolist() == [0, 1, 3]


def test_join_for_bert(bert: Tokenizer) -> None:
  question, sentence = bert([["What", "?"], ["A2", "is"]])
  for double_sep in (False, True):
    ids, types, texts, offset = bert.join(
      question, sentence, double_sep=double_sep
    )
    assert _names(bert, ids) == [
      "[CLS]", "what", "?", "[SEP]", "a", "##2", "is", "[SEP]",
    ]  # fmt: skip
    assert texts == ["[CLS]", "What", "?", "[SEP]", "A", "2", "is", "[SEP]"]
    assert types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert offset == 4
    assert ids.dtype == types.dtype == np.int32
  assert bert.pad_id == 0


def test_join_for_roberta(roberta: Tokenizer) -> None:
  question, sentence = roberta([["the"], ["cat", "saw"]])
  ids, types, texts, offset = roberta.join(question, sentence)
  assert _names(roberta, ids) == [
    "<s>", "Ġthe", "</s>", "Ġcat", "Ġsaw", "</s>",
  ]  # fmt: skip
  assert texts == ["<s>", "the", "</s>", "cat", "saw", "</s>"]
  assert (types.tolist(), offset) == ([0] * 6, 3)
  ids, types, texts, offset = roberta.join(question, sentence, double_sep=True)
  assert _names(roberta, ids) == [
    "<s>", "Ġthe", "</s>", "</s>", "Ġcat", "Ġsaw", "</s>",
  ]  # fmt: skip
  assert texts == ["<s>", "the", "</s>", "</s>", "cat", "saw", "</s>"]
  assert (types.tolist(), offset) == ([0] * 7, 4)
  assert roberta.pad_id == 1


def test_join_without_a_first_part(bert: Tokenizer, roberta: Tokenizer) -> None:
  for tokenizer, cls, sep in (
    (bert, "[CLS]", "[SEP]"),
    (roberta, "<s>", "</s>"),
  ):
    [sentence] = tokenizer([["cat"]])
    ids, types, texts, offset = tokenizer.join(None, sentence, double_sep=True)
    assert _names(tokenizer, ids)[:: len(ids) - 1] == [cls, sep]
    assert ids[1:-1].tolist() == sentence.ids.tolist()
    assert texts == [cls, *sentence.texts, sep]
    assert (types.tolist(), offset) == ([0] * len(ids), 1)


def _random_starts(
  rng: np.random.Generator, words: int, largest: int
) -> np.ndarray:
  sizes = rng.integers(1, largest + 1, words)
  return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def test_windows_of_short_sentences() -> None:
  assert windows(np.arange(1), 10, 5) == [(0, 0)]
  assert windows(np.arange(11), 10, 5) == [(0, 10)]
  assert windows(np.arange(12), 10, 5) == [(0, 10), (5, 11)]
  assert windows(np.arange(12), 10, 0) == [(0, 10), (10, 11)]


def test_windows() -> None:
  rng = np.random.default_rng(0)
  for _ in range(300):
    largest = int(rng.integers(1, 9))
    starts = _random_starts(rng, int(rng.integers(1, 60)), largest)
    capacity = int(rng.integers(largest, 40))
    overlap = int(rng.integers(0, capacity))
    words = len(starts) - 1
    parts = windows(starts, capacity, overlap)
    assert (parts[0][0], parts[-1][1]) == (0, words)
    for first, end in parts:
      assert first < end
      assert starts[end] - starts[first] <= capacity
    for (first, end), (next_first, next_end) in itertools.pairwise(parts):
      # As full as possible, and no word lost between them.
      assert starts[end + 1] - starts[first] > capacity
      assert first < next_first <= end <= next_end
      shared = starts[end] - starts[next_first]
      assert shared <= overlap
      # One word more would be too much, or leave no step forward.
      assert (
        starts[end] - starts[next_first - 1] > overlap
        or next_first == first + 1
      )


def test_stitch_takes_each_word_from_where_it_is_most_central() -> None:
  # Words 0..9 and 6..15: words 6 and 7 have 3 and 2 words behind them in the
  # first window and 0 and 1 before them in the second, and so on.
  parts = [(0, np.full((10, 2), 1.0)), (6, np.full((10, 2), 2.0))]
  rows = stitch(parts, 16)
  assert rows.shape == (16, 2)
  assert rows[:, 0].tolist() == [1.0] * 8 + [2.0] * 8


def test_stitch_of_one_window() -> None:
  values = np.arange(6.0).reshape(3, 2)
  np.testing.assert_array_equal(stitch([(0, values)], 3), values)
  assert stitch([(0, np.zeros((0, 2)))], 0).shape == (0, 2)


def test_stitch_puts_words_at_their_places() -> None:
  """Rows that tell word and window, over windows of random sentences."""
  rng = np.random.default_rng(1)
  for _ in range(200):
    starts = _random_starts(rng, int(rng.integers(1, 60)), 4)
    words = len(starts) - 1
    capacity = int(rng.integers(8, 30))
    parts = windows(starts, capacity, capacity // 2)
    rows = stitch(
      [
        (first, np.stack([np.arange(first, end), np.full(end - first, i)], 1))
        for i, (first, end) in enumerate(parts)
      ],
      words,
    )
    np.testing.assert_array_equal(rows[:, 0], np.arange(words))

    def edge(word: int, part: int, parts=parts, words=words) -> int:
      """Words between this one and an edge that is inside the sentence."""
      first, end = parts[part]
      before = word - first if first > 0 else words
      behind = end - 1 - word if end < words else words
      return min(before, behind)

    for word, part in enumerate(rows[:, 1]):
      holding = [i for i, (a, b) in enumerate(parts) if a <= word < b]
      assert part in holding
      assert edge(word, part) == max(edge(word, i) for i in holding)


def test_context_window_is_centred() -> None:
  starts = np.arange(101)
  assert context_window(starts, 50, 52, 20) == (41, 61)
  assert context_window(starts, 2, 3, 20) == (0, 20)
  assert context_window(starts, 97, 100, 20) == (80, 100)
  assert context_window(starts, 0, 100, 100) == (0, 100)


def test_context_window_of_a_long_mention_is_its_middle() -> None:
  assert context_window(np.arange(101), 20, 60, 10) == (35, 45)
  # No whole word fits: the one in the middle, never one beside the mention.
  starts = np.array([0, 10, 20, 30])
  for word in range(3):
    assert context_window(starts, word, word + 1, 4) == (word, word + 1)


def test_context_window() -> None:
  rng = np.random.default_rng(2)
  for _ in range(500):
    largest = int(rng.integers(1, 9))
    starts = _random_starts(rng, int(rng.integers(1, 40)), largest)
    words, total = len(starts) - 1, starts[-1]
    capacity = int(rng.integers(largest, 40))
    first = int(rng.integers(0, words))
    end = int(rng.integers(first + 1, min(first + 6, words) + 1))
    a, b = context_window(starts, first, end, capacity)
    assert 0 <= a < b <= words
    assert starts[b] - starts[a] <= capacity
    if total <= capacity:
      assert (a, b) == (0, words)
      continue
    # As much of the sentence as whole words allow.
    assert starts[b] - starts[a] > capacity - 2 * largest
    if starts[end] - starts[first] > capacity:
      assert first <= a < b <= end
      continue
    assert a <= first < end <= b
    if a > 0 and b < words:
      before = starts[first] - starts[a]
      behind = starts[b] - starts[end]
      assert abs(before - behind) <= largest
