"""Tokenising."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from splitner_jax.inputs.tokenizer import (
  MAX_WORD_PIECES,
  PairStyle,
  TokenizedWords,
  Tokenizer,
)
from splitner_jax.runtime.errors import UserError
from tests import tiny


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=512)


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
  pairs = PairStyle(2, 0, prefix_space=True)
  return Tokenizer(str(folder), pairs, 512, reference)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return _make_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return _make_roberta(tmp_path_factory.mktemp("reference"), reference=True)


@pytest.fixture(scope="module")
def published(minilm: pathlib.Path) -> Tokenizer:
  return Tokenizer(str(minilm), PairStyle(), max_length=512)


def _names(tokenizer: Tokenizer, words: TokenizedWords) -> list[str]:
  """Vocabulary names of all tokens but the model's own."""
  return tokenizer.fast.convert_ids_to_tokens(words.ids[: words.cls].tolist())


def _texts(words: TokenizedWords) -> list[str]:
  return [words.distinct[t] for t in words.texts[: words.cls]]


def test_folder_without_a_tokenizer(tmp_path: pathlib.Path) -> None:
  with pytest.raises(UserError, match="no tokenizer could be read") as caught:
    Tokenizer(str(tmp_path), PairStyle(), max_length=512)
  assert str(tmp_path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_folder_without_a_vocabulary(tmp_path: pathlib.Path) -> None:
  """transformers makes an empty tokenizer of the rest, and says nothing."""
  folder = tiny.make_backbone(tmp_path)
  for name in ("tokenizer.json", "vocab.txt"):
    (folder / name).unlink()
  assert (folder / "tokenizer_config.json").is_file()
  with pytest.raises(UserError, match="its tokenizer has no vocabulary"):
    Tokenizer(str(folder), PairStyle(), max_length=512)


def test_truncation_and_padding_of_the_file_are_switched_off(
  tmp_path: pathlib.Path,
) -> None:
  folder = tiny.make_backbone(tmp_path)
  stored = json.loads((folder / "tokenizer.json").read_text())
  assert stored["truncation"]["max_length"] < 64
  stored["padding"] = {
    "strategy": {"Fixed": 300},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
  }
  (folder / "tokenizer.json").write_text(json.dumps(stored))
  tokenizer = Tokenizer(str(folder), PairStyle(), max_length=512)
  # Words of more subwords than the truncation leaves, and of fewer than the
  # padding makes of them.
  words = tokenizer([["x" * 50, "what"]])
  assert _names(tokenizer, words) == ["x", *["##x"] * 49, "what"]
  assert words.starts(0).tolist() == [0, 50, 51]


def test_tokens_of_bert(bert: Tokenizer) -> None:
  words = bert([["What", "É2x", "is", "B!"]])
  assert _names(bert, words) == ["what", "e", "##2", "##x", "is", "b", "!"]
  # As written: upper case, the accent, no continuation marks.
  assert _texts(words) == ["What", "É", "2", "x", "is", "B", "!"]
  assert words.starts(0).tolist() == [0, 1, 4, 5, 7]
  assert words.ids.dtype == words.texts.dtype == np.int32
  assert words.words.dtype == words.lists.dtype == np.int64


def test_tokens_of_roberta(roberta: Tokenizer) -> None:
  words = roberta([["cat", "saw", "Th", "é"]])
  # Every word has its space, the first one too.
  assert _names(roberta, words) == [
    "Ġcat", "Ġsaw", "Ġ", "T", "h", "Ġ", "Ã", "©",
  ]  # fmt: skip
  assert _texts(words) == ["cat", "saw", "", "T", "h", "", "é", "é"]
  assert words.starts(0).tolist() == [0, 1, 2, 5, 8]


def test_spaces_are_no_characters_of_a_token(tmp_path: pathlib.Path) -> None:
  tokenizer = _make_roberta(tmp_path, trim_offsets=False)
  words = tokenizer([["the cat", "saw"]])
  assert _names(tokenizer, words) == ["Ġthe", "Ġcat", "Ġsaw"]
  assert _texts(words) == ["the", "cat", "saw"]


def test_tokens_of_the_reference(reference: Tokenizer) -> None:
  """Words without their space."""
  words = reference([["cat", "é", "cat"]])
  assert _names(reference, words) == ["cat", "Ã", "©", "cat"]
  assert _texts(words) == ["cat", "é", "é", "cat"]
  assert words.starts(0).tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("dropped", ["\u200b", "\u00ad", "\u200d\ufeff"])
def test_word_that_the_tokenizer_drops(bert: Tokenizer, dropped: str) -> None:
  words = bert([["is", dropped, "what"]])
  assert _names(bert, words) == ["is", "[UNK]", "what"]
  assert _texts(words) == ["is", dropped, "what"]
  assert words.starts(0).tolist() == [0, 1, 2, 3]


def test_long_word_is_cut(bert: Tokenizer) -> None:
  words = bert([["x" * 90, "is"]])
  assert words.starts(0).tolist() == [0, MAX_WORD_PIECES, MAX_WORD_PIECES + 1]
  assert _texts(words)[-1] == "is"


def test_lists_lie_behind_each_other(bert: Tokenizer) -> None:
  words = bert([["What", "B2"], [], ["is"], ["B2", "what", "B2"]])
  assert len(words) == 4
  assert words.lists.tolist() == [0, 2, 2, 3, 6]
  assert [words.starts(i).tolist() for i in range(4)] == [
    [0, 1, 3], [3], [3, 4], [4, 6, 7, 9],
  ]  # fmt: skip
  assert words.sizes().tolist() == [3, 0, 1, 5]
  assert _texts(words) == ["What", "B", "2", "is", "B", "2", "what", "B", "2"]


@pytest.mark.parametrize(
  ("family", "cls", "sep", "pad_id"),
  [("bert", "[CLS]", "[SEP]", 0), ("roberta", "<s>", "</s>", 1)],
)
def test_special_tokens(
  family: str, cls: str, sep: str, pad_id: int, request: pytest.FixtureRequest
) -> None:
  tokenizer = request.getfixturevalue(family)
  assert tokenizer.pad_id == pad_id
  # Also where a text has one as a word, and where there is no text.
  for lists in ([["cat"]], [["cat", sep]], [[]], []):
    words = tokenizer(lists)
    assert (words.cls, words.sep) == (words.words[-1], words.words[-1] + 1)
    assert len(words.ids) == len(words.texts) == words.sep + 1
    names = tokenizer.fast.convert_ids_to_tokens(words.ids.tolist())
    assert names[words.cls :] == [cls, sep]
    assert [words.distinct[t] for t in words.texts[words.cls :]] == [cls, sep]
    assert len(set(words.distinct)) == len(words.distinct)


def test_no_words_and_no_lists(bert: Tokenizer) -> None:
  assert len(bert([])) == 0
  assert bert([]).sizes().tolist() == []
  words = bert([[]])
  assert (len(words), words.sizes().tolist(), words.cls) == (1, [0], 0)
  assert words.starts(0).tolist() == [0]


def _read_at_once(
  tokenizer: Tokenizer, words: Sequence[str]
) -> tuple[list[list[int]], list[list[str]]]:
  """Ids and texts of each word, from a single call of the library."""
  [encoding] = tokenizer.fast.backend_tokenizer.encode_batch(
    [list(words)], is_pretokenized=True, add_special_tokens=False
  )
  ids: list[list[int]] = [[] for _ in words]
  texts: list[list[str]] = [[] for _ in words]
  for token_id, word, (start, end) in zip(
    encoding.ids, encoding.word_ids, encoding.offsets, strict=True
  ):
    if len(ids[word]) < MAX_WORD_PIECES:
      ids[word].append(token_id)
      texts[word].append(words[word][start:end].strip())
  for w, word in enumerate(words):
    if not ids[w]:
      ids[w], texts[w] = [tokenizer.fast.unk_token_id], [word]
  return ids, texts


_ODD_WORDS = [
  "<s>", "</s>", "[CLS]", "[MASK]", "<mask>", "U.S.", "IL-2's", "don't",
  "http://t.co/a1", "internationalisation", "naïve", "e\u0301", "ﬁne", "²",
  "日本", "\u200b", "\ufeff", "\xa0", "x1" * MAX_WORD_PIECES,
]  # fmt: skip


@pytest.mark.parametrize(
  "family", ["bert", "roberta", "reference", "published"]
)
def test_words_read_one_by_one_are_as_read_at_once(
  family: str, request: pytest.FixtureRequest
) -> None:
  tokenizer = request.getfixturevalue(family)
  rng = np.random.default_rng(0)
  characters = list("abcXYZ019.,-_é日😀\u200b' ")
  synthetic = [
    "".join(rng.choice(characters, rng.integers(1, 7))) for _ in range(100)
  ]
  known = [*synthetic, *_ODD_WORDS]
  lists = [rng.choice(known, rng.integers(0, 12)).tolist() for _ in range(80)]
  words = tokenizer(lists)
  assert len(words) == len(lists)
  assert set(_texts(words)) <= set(words.distinct)
  assert len(set(words.distinct)) == len(words.distinct)
  for i, some in enumerate(lists):
    ids, texts = _read_at_once(tokenizer, some)
    starts = words.starts(i)
    assert np.diff(starts).tolist() == [len(word) for word in ids]
    here = slice(starts[0], starts[-1])
    assert words.ids[here].tolist() == [t for word in ids for t in word]
    assert [words.distinct[t] for t in words.texts[here]] == [
      t for word in texts for t in word
    ]
