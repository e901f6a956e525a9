"""Tokenizer files: read as they are meant, or refused in one line."""

import json
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers, pre_tokenizers

from splitner_jax.inputs import tokenizer_files
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from tests import tiny


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  return tiny.make_backbone(tmp_path / "backbone")


def _read(folder: pathlib.Path, pairs: PairStyle | None = None) -> Tokenizer:
  return Tokenizer(str(folder), pairs or PairStyle(), max_length=512)


def _names(tokenizer: Tokenizer, *words: str) -> list[str]:
  found = tokenizer([words])
  return tokenizer.fast.convert_ids_to_tokens(found.ids[: found.cls].tolist())


def _edit(path: pathlib.Path, change: Callable[[Any], object]) -> None:
  fields = json.loads(path.read_text())
  change(fields)
  path.write_text(json.dumps(fields))


def _put(name: str, **fields: Any):
  return lambda f: _edit(f / name, lambda found: found.update(fields))


def _text(name: str, text: str | bytes):
  data = text if isinstance(text, bytes) else text.encode()
  return lambda f: (f / name).write_bytes(data)


def _token(number: Any):
  """A change of the id of the token "a"."""
  return lambda f: _edit(
    f / "tokenizer.json", lambda found: found["model"]["vocab"].update(a=number)
  )


def _plain(text: str | bytes):
  """vocab.txt in place of tokenizer.json."""
  return lambda f: (
    (f / "tokenizer.json").unlink(),
    _text("vocab.txt", text)(f),
  )


@pytest.mark.parametrize(
  ("spoil", "reason"),
  [
    (_text("tokenizer.json", ""), "tokenizer.json: Expecting value"),
    (_text("tokenizer.json", "[]"), "tokenizer.json: no JSON object"),
    (_text("tokenizer.json", "{}"), "added_tokens"),
    (_text("tokenizer.json", "[" * 100_000), "tokenizer.json: too deep"),
    (_token(-1), "too small"),
    (_token(0.5), "float"),
    (_text("tokenizer_config.json", "[" * 100_000), "too deep"),
    (_text("special_tokens_map.json", "[" * 100_000), "too deep"),
    (_put("tokenizer_config.json", pad_token=5), "pad_token"),
    (_put("tokenizer_config.json", added_tokens_decoder={"1": 1}), "decoder"),
    (_put("tokenizer_config.json", tokenizer_class="T5Tokenizer"), "dict"),
    (_plain(b"\xff\xfe\0"), "UTF-8"),
    (_plain("a\nb\nc\nd\n"), "UNK"),
    (_put("config.json", layer_norm_eps=0), "layer_norm_eps"),
    (_put("config.json", pad_token_id="0"), "pad_token_id"),
    (_put("config.json", use_cache="x"), "use_cache"),
  ],
)
def test_unreadable_files(folder: pathlib.Path, spoil, reason: str) -> None:
  spoil(folder)
  with pytest.raises(UserError, match="no tokenizer could be read") as caught:
    _read(folder)
  assert reason in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_token_that_is_not_in_the_vocabulary(tmp_path: pathlib.Path) -> None:
  """transformers would look for it for ever."""
  tiny.make_byte_level(tmp_path)
  _put("tokenizer_config.json", unk_token="")(tmp_path)
  with pytest.raises(UserError, match="its tokenizer has no unk_token"):
    _read(tmp_path, PairStyle(prefix_space=True))


@pytest.mark.parametrize(
  ("said", "is_cased"),
  [(None, True), ({}, True), ({"do_lower_case": False}, True),
   ({"do_lower_case": True}, False)],
)  # fmt: skip
def test_a_cased_tokenizer_is_one(
  folder: pathlib.Path, said: dict[str, bool] | None, is_cased: bool
) -> None:
  """Whose class in transformers lowers letters unless it is told not to."""

  def cased(found: Any) -> None:
    found["normalizer"]["lowercase"] = False

  _edit(folder / "tokenizer.json", cased)
  config = folder / "tokenizer_config.json"
  if said is None:
    config.unlink()
  else:
    _edit(config, lambda found: found.update(said))
  tokenizer = _read(folder)
  names = ["[UNK]" if is_cased else "what", "is"]
  assert _names(tokenizer, "What", "is") == names
  # It is saved as it is read.
  tokenizer.fast.save_pretrained(folder / "again")
  assert _names(_read(folder / "again"), "What", "is") == names


@pytest.mark.parametrize("is_last", [True, False])
def test_how_text_is_split_is_in_the_file(
  folder: pathlib.Path, is_last: bool
) -> None:
  path = folder / "tokenizer.json"
  own = Backend.from_file(str(path))
  own.normalizer = normalizers.Replace("z", "is")
  own.pre_tokenizer = pre_tokenizers.Split("x", "removed")
  own.save(str(path))
  if not is_last:  # The vocabulary, which files have at their end.
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({"model": fields.pop("model"), **fields}))
  assert _names(_read(folder), "zxwhat") == ["is", "what"]


def test_two_tokens_on_one_id(folder: pathlib.Path) -> None:
  _token(0)(folder)
  with pytest.raises(
    UserError, match="and 'a' have the same id 0; get the folder"
  ):
    _read(folder).check_vocabulary(96)


def _cut(folder: pathlib.Path, tokens: int, is_json: bool) -> None:
  """Leaves so many tokens of the vocabulary."""
  if not is_json:
    _plain("\n".join(tiny.vocabulary()[:tokens]) + "\n")(folder)
    return

  def cut(found: Any) -> None:
    vocabulary = found["model"]["vocab"]
    for token in [t for t, number in vocabulary.items() if number >= tokens]:
      del vocabulary[token]

  _edit(folder / "tokenizer.json", cut)


@pytest.mark.parametrize("is_json", [True, False])
def test_a_vocabulary_that_is_cut(
  folder: pathlib.Path, is_json: bool, caplog: pytest.LogCaptureFixture
) -> None:
  rows = len(tiny.vocabulary())
  caplog.set_level(logging.WARNING)
  _read(folder).check_vocabulary(rows + 5)
  assert not caplog.messages
  # As of published models with rows to spare.
  _cut(folder, rows * 2 // 3, is_json)
  _read(folder).check_vocabulary(rows)
  assert "has 64 of the 96 tokens" in caplog.text


@pytest.mark.parametrize("is_json", [True, False])
def test_a_vocabulary_most_of_which_is_gone(
  folder: pathlib.Path, is_json: bool
) -> None:
  _cut(folder, 20, is_json)
  with pytest.raises(UserError, match="20 of the 96 tokens that the model kno"):
    _read(folder).check_vocabulary(96)


def _unnamed(folder: pathlib.Path) -> None:
  """Leaves the special tokens to the reader, as a general class may."""
  for name in ("special_tokens_map.json", "vocab.txt"):
    (folder / name).unlink(missing_ok=True)
  fields = {"tokenizer_class": "PreTrainedTokenizerFast"}
  (folder / "tokenizer_config.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
  "change",
  [
    _unnamed,
    _put("tokenizer_config.json", pad_token=None),
    _put("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
    _put("tokenizer_config.json", tokenizer_class="Unheard"),
    _put("tokenizer_config.json", tokenizer_class=None),
    _put("tokenizer_config.json", model_max_length=1e300),
    _text("README.md", b"\xff"),
    _text("vocab.txt", ""),
  ],
)
def test_odd_files_whose_meaning_is_clear(
  folder: pathlib.Path, tmp_path: pathlib.Path, change: Callable
) -> None:
  words = [["ada", "[SEP]", "unheard", "a"]]
  usual = _read(folder)
  change(folder)
  odd = _read(folder)
  assert odd(words).ids.tolist() == usual(words).ids.tolist()
  assert odd.pad_id == usual.pad_id
  # And so when it is written with a model.
  odd.fast.save_pretrained(tmp_path / "again")
  again = _read(tmp_path / "again")
  assert again(words).ids.tolist() == usual(words).ids.tolist()


_ODD = [
  ["What", "is", "thé", "tEXT", "?"],
  [],
  ["12", "\u200b", "東京", "a" * 99],
]


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize(
  "make",
  [tiny.make_word_pieces, tiny.make_byte_level, tiny.make_sentence_pieces],
)
def test_a_saved_one_needs_no_transformers(
  make: Callable[[pathlib.Path], object],
  reference: bool,
  is_named: bool,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  make(tmp_path)
  if not is_named:
    _unnamed(tmp_path)
  pairs = PairStyle(prefix_space=make != tiny.make_word_pieces)
  one = Tokenizer(str(tmp_path), pairs, 512, reference)
  one.fast.save_pretrained(tmp_path / "saved")
  with monkeypatch.context() as patch:
    patch.setattr(tokenizer_files, "load", None)
    saved = Tokenizer(
      str(tmp_path / "saved"), pairs, 512, reference, saved=True
    )
    for a, b in zip(
      *(vars(t(_ODD)).values() for t in (one, saved)), strict=True
    ):
      np.testing.assert_array_equal(a, b)
    assert saved.is_like(one)
    assert one.is_like(saved)
  # It can be written again.
  theirs = saved.fast.backend_tokenizer.to_str()
  assert theirs == one.fast.backend_tokenizer.to_str()


def test_one_of_a_slow_class(tmp_path: pathlib.Path) -> None:
  transformers.ByT5Tokenizer().save_pretrained(tmp_path)
  with pytest.raises(UserError, match=r"read \(its class is a slow one\)"):
    _read(tmp_path)


def test_one_of_another_text_is_not_like_it(folder: pathlib.Path) -> None:
  usual = _read(folder)
  assert usual.is_like(_read(folder))
  assert not usual.is_like(_read(folder, PairStyle(separators=2)))
  _edit(folder / "tokenizer_config.json", lambda f: f.update(unk_token="a"))
  assert not usual.is_like(_read(folder))


@pytest.mark.parametrize(
  ("spoil", "reason"),
  [
    (_text("tokenizer.json", "{"), "EOF"),
    (_text("tokenizer.json", "{}"), "Model missing"),
    (_text("tokenizer.json", "[" * 100_000), "expected struct"),
    (_text("tokenizer_config.json", "[]"), "no JSON object"),
    (_text("tokenizer_config.json", "[" * 100_000), "too deep"),
    (_token(-1), "-1"),
  ],
)
def test_a_saved_one_that_is_broken(
  folder: pathlib.Path, spoil: Callable, reason: str
) -> None:
  spoil(folder)
  with pytest.raises(UserError, match="no tokenizer could be read") as caught:
    Tokenizer(str(folder), PairStyle(), 512, saved=True)
  assert "\n" not in str(caught.value)
  assert reason in str(caught.value)
  assert str(folder) in str(caught.value)


def test_a_saved_one_as_vocab_txt(folder: pathlib.Path) -> None:
  """Of a folder that was made by hand."""
  usual = _read(folder)
  (folder / "tokenizer.json").unlink()
  again = Tokenizer(str(folder), PairStyle(), 512, saved=True)
  assert again(_ODD).ids.tolist() == usual(_ODD).ids.tolist()


def test_a_special_token_of_two_names(folder: pathlib.Path) -> None:
  """Which of the two the model has learnt, nobody says."""
  _unnamed(folder)
  _edit(
    folder / "tokenizer.json",
    lambda f: f["model"]["vocab"].update({"<s>": len(f["model"]["vocab"])}),
  )
  with pytest.raises(UserError, match="has no cls_token"):
    _read(folder)


@pytest.mark.parametrize(
  "name",
  ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"],
)
@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("[]", "no JSON object"),
    ("null", "no JSON object"),
    (9999 * "[", "too deep"),
    ('{"a":' * 99_999, "too deep"),
    (b"\xff", "not UTF-8"),
    ("{", "Expecting"),
  ],
  ids=range(6),
)
def test_files_that_are_no_objects(
  folder: pathlib.Path, name: str, text: str | bytes, reason: str
) -> None:
  _text(name, text)(folder)
  match = rf"\({name}: {reason}[^\n]*\); the folder"
  with pytest.raises(UserError, match=match):
    _read(folder)
