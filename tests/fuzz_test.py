"""Files made up and damaged: what they say, or one line; nothing else."""

import copy
import json
import mmap
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict
from torch_files_test import _DATA, _legacy, _storage, _table, _tensor, _zip

from configs import common
from splitner_jax import pretrained
from splitner_jax.data import check, conll2012, corpora, formats
from splitner_jax.experiment import settings
from splitner_jax.inference import model_schema
from splitner_jax.inference.documents import KINDS, read_rows
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.pretrained import torch_files
from splitner_jax.runtime import json_text
from splitner_jax.runtime.errors import UserError
from tests import fuzzing, tiny, tiny_system
from tests.fuzzing import Amount, amounts

_LONGEST = 1000  # Of a message.


def _or_one_line(call: Callable[[], Any]) -> Any:
  """What the call gives, None if it refuses in one line."""
  try:
    return call()
  except UserError as error:
    message = str(error)
    assert message
    assert len(message.splitlines()) == 1
    assert len(message) < _LONGEST
    return None


_NUMBERS = st.integers() | st.floats() | st.integers(-3, 12)
_SCALARS = (
  st.none()
  | st.booleans()
  | _NUMBERS
  | st.text(max_size=8)
  # Half a character, which no file can hold but as an escape.
  | st.just("a\ud800")
)
_JSON = st.recursive(
  _SCALARS,
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=5), inner, max_size=4)
  ),
  max_leaves=12,
)

_ENTITY = st.fixed_dictionaries(
  {},
  optional={
    "start": st.integers(-1, 9) | _SCALARS,
    "end": st.integers(-1, 9) | _SCALARS,
    "label": st.sampled_from(["A", "B", " ", ""]) | _SCALARS,
    "score": _SCALARS,
  },
)
_RECORD = st.fixed_dictionaries(
  {},
  optional={
    "text": st.text(max_size=20) | _JSON,
    "tokens": st.lists(st.text(max_size=4), max_size=6) | _JSON,
    "entities": st.lists(_ENTITY, max_size=3) | _JSON,
    "pos": st.lists(st.text(max_size=3), max_size=6) | _JSON,
    "predicted": st.lists(_ENTITY, max_size=2) | _JSON,
    "id": _JSON,
  },
)
_WORDS = st.text(max_size=4) | st.sampled_from(["Ada", "-DOCSTART-", "#", "."])
_TAGS = st.sampled_from(
  ["O", "B-A", "I-A", "E-A", "S-A", "L-A", "U-A", "B-B", "I-B", "B-", "X", ""]
)
_ROW = st.tuples(_WORDS, st.sampled_from(["\t", " ", "\t\t"]), _TAGS).map(
  "".join
)
_COLUMNS = st.lists(_ROW | st.just("") | st.text(max_size=9), max_size=12)


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes | None = None) -> bytes:
  """The bytes of a file of some kind, and perhaps one damage."""
  kinds = {
    "columns": _COLUMNS.map("\n".join),
    "jsonl": st.lists(_RECORD.map(json.dumps), max_size=4).map("\n".join),
    "text": st.text(max_size=60),
  }
  if whole is None:
    text = draw(st.one_of(*kinds.values()))
    data = bytearray(text.encode("utf-8", "surrogatepass"))
  else:
    data = bytearray(whole)
  for _ in range(draw(st.integers(0, 2))):
    place = draw(st.integers(0, len(data)))
    change = draw(st.sampled_from(["cut", "flip", "insert", "repeat"]))
    if change == "cut":
      del data[place : place + draw(st.integers(1, 9))]
    elif change == "flip" and place < len(data):
      data[place] ^= 1 << draw(st.integers(0, 7))
    elif change == "insert":
      data[place:place] = draw(st.binary(min_size=1, max_size=5))
    elif change == "repeat":
      data[place:place] = data[place : place + 20]
  return bytes(data)


def test_what_an_error_quotes_is_one_line() -> None:
  """A setting, a key or a name may hold the end of one."""
  config = common.get_config()
  with config.ignore_type():
    config.classifier.labels = "a\nb\u2028c"
  match = r"^config\.classifier\.labels: a b c is for a checkpoint"
  with pytest.raises(UserError, match=match):
    settings.check_config(config)
  assert str(UserError("a\r\nb")) == "a b"


def _take_memory() -> None:
  """128 MB of the system, whatever the process has that is free."""
  with mmap.mmap(-1, 2**27) as taken:
    taken[::4096] = bytes(len(taken) // 4096)


@pytest.mark.parametrize(
  ("limit", "least", "call"),
  [
    ("_MOST_MEMORY", 2**26, _take_memory),
    ("_MOST_SECONDS", 0.001, lambda: sum(range(10**6))),
  ],
)
def test_what_is_out_of_proportion(limit, least, call, monkeypatch) -> None:
  with monkeypatch.context() as patch:
    patch.setattr(fuzzing, limit, least)
    with pytest.raises(AssertionError), fuzzing.in_proportion():
      call()
  with fuzzing.in_proportion():
    call()


@amounts(60, 2000, 1500)
def test_corpora(amount: Amount, tmp_path: pathlib.Path) -> None:
  """What is read is a corpus that all that follows can take."""

  def check_one(data: bytes, name: str, column: int) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    rows = _or_one_line(lambda: formats.read(path, word_column=column))
    for row in rows or ():
      assert row.words
      for word in row.words:
        word.encode()
        assert word
      ends = [0, *(end for span in row.spans for end in span[:2])]
      assert ends == sorted(ends)
      assert ends[-1] <= len(row.words)
    if rows:
      check.check(corpora.Corpus("c", rows, rows, []))
      formats.write_jsonl(tmp_path / "again.jsonl", rows)
      again = formats.read(tmp_path / "again.jsonl")
      assert [(r.words, r.spans) for r in again] == [
        (r.words, r.spans) for r in rows
      ]

  names = st.sampled_from(["a.tsv", "a.jsonl", "a.gold_conll", "a.txt"])
  amount.run(check_one, data=_damaged(), name=names, column=st.integers(-3, 3))


@amounts(60, 2000, 1500)
def test_texts_to_tag(amount: Amount) -> None:
  def check_one(data: bytes, kind: str | None, name: str) -> None:
    told: list[UserError] = []
    lines = data.splitlines(keepends=True)
    for row in read_rows(lines, name, told.append, kind=kind):
      row.text.encode()
      assert isinstance(row.content, str) or all(row.content)
    for error in told:
      assert "\n" not in str(error)

  amount.run(
    check_one,
    data=_damaged(),
    kind=st.sampled_from([None, *KINDS]),
    name=st.sampled_from(["a", "a.jsonl", "a.tsv", "a.txt"]),
  )


def test_every_reader_is_tried() -> None:
  assert conll2012.is_name("a.gold_conll")
  assert KINDS == ("text", "jsonl", "columns", "conll2012")


@amounts(100, 3000, 2000)
def test_json(amount: Amount) -> None:
  """As JSON says, not as Python is pleased to read it."""

  def check_one(value: Any) -> None:
    try:
      text = json.dumps(value, allow_nan=False)
    except ValueError:
      with pytest.raises(ValueError, match=r"^[^\n]+$"):
        json_text.parse(json.dumps(value))
      return
    assert json_text.parse(text) == value

  amount.run(check_one, value=_JSON)


_GOOD_TABLE = _table(
  a=_tensor(_storage()), b=_tensor(_storage(), 1, (2,), (1,))
)


@amounts(200, 10_000, 10_000)
def test_weights_of_torch(amount: Amount, tmp_path: pathlib.Path) -> None:
  path = tmp_path / "pytorch_model.bin"

  def check_one(data: bytes, pickled: bytes, which: int) -> None:
    wholes = (data, _zip(pickled, _DATA), _legacy(pickled, _DATA), pickled)
    path.write_bytes(wholes[which])
    for array in (
      _or_one_line(lambda: torch_files.read(str(path))) or {}
    ).values():
      # Nothing outside of the storage.
      assert array.size <= 6
      assert np.asarray(array).tobytes() is not None

  good = st.sampled_from(
    [_zip(_GOOD_TABLE, _DATA), _legacy(_GOOD_TABLE, _DATA)]
  )
  amount.run(
    check_one,
    data=good.flatmap(_damaged),
    pickled=_damaged(_GOOD_TABLE),
    which=st.sampled_from([0, 1, 1, 2, 2, 3]),
  )


@st.composite
def _changed(draw: st.DrawFn, whole: Any) -> Any:
  """A JSON value in which one place is another value, or gone."""
  whole = copy.deepcopy(whole)
  place = whole
  while True:
    keys = [*place] if isinstance(place, dict) else [*range(len(place))]
    if not keys:
      return whole
    key = draw(st.sampled_from(keys))
    inner = place[key]
    if isinstance(inner, dict | list) and inner and draw(st.booleans()):
      place = inner
      continue
    if draw(st.integers(0, 4)) == 0:
      del place[key]
    else:
      place[key] = draw(_JSON)
    return whole


@amounts(60, 1500, 1500)
def test_backbones(
  amount: Amount, tmp_path_factory: pytest.TempPathFactory
) -> None:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("f") / "backbone")
  names = [
    path.name for path in folder.glob("*.json") if path.name != "vocab.json"
  ]
  wholes = {name: (folder / name).read_bytes() for name in sorted(names)}
  fields = {name: json.loads(text) for name, text in wholes.items()}

  def check_one(change: tuple[str, Any]) -> None:
    name, value = change
    (folder / name).write_text(json.dumps(value))
    try:
      found = _or_one_line(lambda: pretrained.read_backbone(str(folder)))
      if found is None:
        return
      tokenizer = _or_one_line(
        lambda: Tokenizer(str(folder), found.family.pairs, 100)
      )
      if tokenizer:
        _or_one_line(
          lambda: tokenizer.check_vocabulary(found.encoder.vocab_size)
        )
        read = tokenizer([["ada", "\N{SNOWMAN}", "b"]])
        assert len(read.words) == 4
    finally:
      (folder / name).write_bytes(wholes[name])

  changes = st.sampled_from(sorted(fields)).flatmap(
    lambda name: st.tuples(st.just(name), _changed(fields[name]))
  )
  amount.run(check_one, change=changes)


@amounts(100, 3000, 3000)
def test_fields_of_models(
  amount: Amount, tmp_path_factory: pytest.TempPathFactory
) -> None:
  """What the schema takes has the types that it says."""
  from splitner_jax.inference import model_config

  model = tiny_system.make(tmp_path_factory.mktemp("model"))
  whole = model_config.describe(model, dict.fromkeys(model.tasks, "."))
  whole = json.loads(json.dumps(whole))
  model_schema.check(whole)

  def check_one(config: Any) -> None:
    try:
      model_schema.check(config)
    except ValueError:
      return
    decoding = config["decoding"]
    assert -1e308 < decoding["outside_bias"] < 1e308
    assert decoding["temperature"] > 0
    for task in config["tasks"].values():
      assert type(task["max_length"]) is int
      assert task["max_length"] > 0

  amount.run(check_one, config=_changed(whole))


@amounts(100, 3000, 3000)
def test_settings(amount: Amount) -> None:
  """A config with any value of the right type: taken, or one line."""
  usual = common.get_config()
  fields = {
    name: value
    for name, value in settings.flat(usual.to_dict()).items()
    if isinstance(value, int | float | str)
  }
  by_type: dict[type, st.SearchStrategy] = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(),
    str: st.text(max_size=9) | st.sampled_from(["1,2", "shared", "BIO"]),
  }

  def check_one(change: tuple[str, Any]) -> None:
    name, value = change
    config: ConfigDict = common.get_config()
    with config.ignore_type():
      config.update_from_flattened_dict({name: value})
    _or_one_line(lambda: settings.check_config(config))

  changes = st.sampled_from(sorted(fields)).flatmap(
    lambda name: st.tuples(st.just(name), by_type[type(fields[name])])
  )
  amount.run(check_one, change=changes)
