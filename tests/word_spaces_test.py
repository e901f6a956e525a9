"""The space before a word, with tokenizers of no class of their own."""

import json
import logging
import pathlib

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from splitner_jax.inputs.tokenizer import PairStyle, TokenizedWords, Tokenizer
from splitner_jax.runtime.errors import UserError
from tests import tiny

_PAIRS = PairStyle(second_type=0, prefix_space=True)
_WORDS = ["cat", "saw", "Th", "é", "the"]


def _names(tokenizer: Tokenizer, words: TokenizedWords) -> list[str]:
  return tokenizer.fast.convert_ids_to_tokens(words.ids.tolist())


@pytest.mark.parametrize("inside", [False, True], ids=["", "in a sequence"])
def test_words_have_their_space(
  inside: bool, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
  tiny.make_byte_level(tmp_path)
  path = tmp_path / "tokenizer.json"
  if inside:
    fields = json.loads(path.read_text())
    digits = {"type": "Digits", "individual_digits": False}
    both = [digits, fields["pre_tokenizer"]]
    fields["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": both}
    path.write_text(json.dumps(fields))
  with caplog.at_level(logging.WARNING):
    tokenizer = Tokenizer(str(tmp_path), _PAIRS, 512)
  assert not caplog.records
  words = tokenizer([_WORDS])
  names = [
    "Ġcat", "Ġsaw", "Ġ", "T", "h", "Ġ", "Ã", "©", "Ġthe", "[CLS]", "[SEP]",
  ]  # fmt: skip
  assert _names(tokenizer, words) == names
  # As in a text, whose first word has no space before it.
  whole = tokenizer.fast.backend_tokenizer.encode(
    " ".join(_WORDS), add_special_tokens=False
  )
  assert whole.tokens == names[:-2]
  texts = [words.distinct[t] for t in words.texts]
  assert texts == [
    "cat", "saw", "", "T", "h", "", "é", "é", "the", "[CLS]", "[SEP]",
  ]  # fmt: skip

  # In a model folder too.
  tokenizer.fast.save_pretrained(tmp_path / "saved")
  saved = Tokenizer(str(tmp_path / "saved"), _PAIRS, 512)
  assert _names(saved, saved([_WORDS])) == names


def test_the_reference_leaves_it_out(tmp_path: pathlib.Path) -> None:
  tiny.make_byte_level(tmp_path)
  tokenizer = Tokenizer(str(tmp_path), _PAIRS, 512, reference=True)
  names = _names(tokenizer, tokenizer([["cat", "Th"]]))
  assert names[:-2] == ["cat", "T", "h"]


def test_a_tokenizer_that_takes_no_space(
  tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
  """Which is of another kind; it works, but not as in pretraining."""
  vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "▁a"]
  tokenizer = tokenizers.Tokenizer(
    models.WordLevel({t: i for i, t in enumerate(vocabulary)}, "[UNK]")
  )
  tokenizer.normalizer = normalizers.Replace(" ", "▁")
  tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
  tiny.make_byte_level(tmp_path)
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  with caplog.at_level(logging.WARNING):
    Tokenizer(str(tmp_path), _PAIRS, 512)
  [record] = caplog.records
  assert "does not read a single word as it reads it in" in record.message


@pytest.mark.parametrize("name", ["cls", "sep", "unk"])
def test_a_special_token_that_is_not_there(
  name: str, tmp_path: pathlib.Path
) -> None:
  """Neither named, nor in the vocabulary under a usual name."""
  tiny.make_byte_level(tmp_path)
  path = tmp_path / "tokenizer_config.json"
  fields = json.loads(path.read_text())
  usual = fields.pop(f"{name}_token")
  path.write_text(json.dumps(fields))
  path = tmp_path / "tokenizer.json"
  path.write_text(path.read_text().replace(f'"{usual}"', '"<other>"'))
  with pytest.raises(UserError, match=f"no {name}_token") as caught:
    Tokenizer(str(tmp_path), _PAIRS, 512)
  assert str(tmp_path) in str(caught.value)
