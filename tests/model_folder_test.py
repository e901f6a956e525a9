"""The published folder: round trip, whole or not at all, one-line errors."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from splitner_jax.data.text import TextStyle
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.pretrained import FAMILIES
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from tests import tiny_system


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return dataclasses.replace(
    tiny_system.make(tmp_path_factory.mktemp("backbones"), features="both"),
    decoding=Decoding(-0.5, 2.5, Thresholds(0.25, {"person": 0.5})),
    text_style=TextStyle(split_hyphens=True, unit_words=7),
  )


@pytest.fixture(scope="module")
def saved(
  trained: NerModel, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("published") / "model"
  model_folder.save(folder, trained)
  return folder


@pytest.fixture
def copy(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(saved, tmp_path / "model"))


def names(folder: pathlib.Path) -> list[str]:
  return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_round_trip(trained: NerModel, saved: pathlib.Path):
  loaded = model_folder.load(str(saved))
  assert loaded.decoding == trained.decoding
  assert loaded.text_style == trained.text_style
  assert loaded.card == "# A card\n"
  assert loaded.labels == tiny_system.TYPES
  for name, task in trained.tasks.items():
    again = loaded.tasks[name]
    for field in dataclasses.fields(task):
      if field.name != "tokenizer":
        assert getattr(again, field.name) == getattr(task, field.name)
    one, other = (
      traverse_util.flatten_dict(devices.to_host(t.params[name]))
      for t in (trained, loaded)
    )
    assert one.keys() == other.keys()
    for key, value in one.items():
      np.testing.assert_array_equal(value, other[key])


def test_without_weights_no_device_is_taken(
  trained: NerModel, copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  for weights in copy.glob("*.safetensors"):
    weights.unlink()
  monkeypatch.setattr(devices, "_platform", pytest.fail)
  found = model_folder.load(str(copy), weights=False)
  assert found.labels == trained.labels
  assert found.tasks.keys() == trained.tasks.keys()
  assert not found.params
  (copy / "tokenizer.json").unlink()
  with pytest.raises(UserError, match=r"tokenizer.json: is missing"):
    model_folder.load(str(copy), weights=False)


_ENCODER = {
  "activation", "attention_dropout", "family", "hidden_dropout", "hidden_size",
  "intermediate_size", "layer_norm_eps", "max_positions", "num_heads",
  "num_layers", "position_offset", "type_vocab_size", "vocab_size",
}  # fmt: skip
_TASK = {
  "encoder", "kind", "max_length", "question", "reference", "tokenizer",
}  # fmt: skip
_TOKEN = _TASK | {
  "char_vocab_size", "double_sep", "features", "labels_on",
  "mask_char_padding", "pattern_vocab_size", "pos_tags", "pos_vocab_size",
  "scheme", "types",
}  # fmt: skip
_MENTION = _TASK | {
  "context", "labels", "max_context", "none_class", "pooling", "positions",
}  # fmt: skip
_KINDS = {
  "splitner": {
    "detector": ("token", _TOKEN), "classifier": ("mention", _MENTION),
  },
  "hierarchical": {
    "detector": ("group", _TOKEN), "classifier": ("mention", _MENTION),
  },
  "single_seqtag": {"tagger": ("token", _TOKEN)},
  "single_qa": {"tagger": ("type questions", _TOKEN | {"asked"})},
}  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
def test_the_format_stays(kind: str, tmp_path: pathlib.Path):
  """Other releases read and write these fields."""
  made = tiny_system.make(tmp_path / "backbones", kind=kind)
  model_folder.save(tmp_path / "model", made)
  config = json.loads((tmp_path / "model" / "config.json").read_text())
  assert config.keys() == {
    "checksum", "decoding", "files", "format_version", "library", "system",
    "tasks", "text_style", "version",
  }  # fmt: skip
  assert (config["format_version"], config["system"]) == (4, kind)
  assert {
    name: (fields["kind"], fields.keys())
    for name, fields in config["tasks"].items()
  } == _KINDS[kind]
  for name, task in model_folder.load(str(tmp_path / "model")).tasks.items():
    again = dataclasses.replace(task, tokenizer=made.tasks[name].tokenizer)
    assert again == made.tasks[name]
    encoder = config["tasks"][name]["encoder"]
    assert encoder.keys() == _ENCODER
    assert encoder["family"] == "bert"
  if kind == "single_qa":
    tagger = config["tasks"]["tagger"]
    words = "Extract {} from the following text ."
    assert tagger["asked"] == [
      {"type": t, "question": words.format(t).split()}
      for t in tiny_system.TYPES
    ]
    # Not read, but the first release wants it to be there.
    assert tagger["question"] == tagger["asked"][0]["question"]


def _age(config, *, version: int = 3, is_roberta: bool = False) -> None:
  """As until format 3: two families, and each task's part of the decoding."""
  config["format_version"] = version
  del config["decoding"]
  config["thresholds"] = {"default": 0.2, "per_type": {"thing": 0.6}}
  config["tasks"]["detector"]["o_bias"] = -1.0
  for fields in config["tasks"].values():
    del fields["encoder"]["family"]
    fields["is_roberta"] = is_roberta


@pytest.mark.parametrize("is_roberta", [False, True])
def test_families_of_older_formats(copy: pathlib.Path, is_roberta: bool):
  edit(copy, lambda c: _age(c, is_roberta=is_roberta))
  for task in model_folder.load(str(copy)).tasks.values():
    name = "roberta" if is_roberta else "bert"
    assert task.model.encoder.family == name
    assert task.tokenizer.pairs == FAMILIES[name].pairs


# Fields that 2 has, but not the first folders of 1.
_NOT_IN_1 = ("none_class", "pooling", "question")


@pytest.mark.parametrize(
  ("version", "missing", "max_context"),
  [(3, (), 128), (2, (), 128), (1, _NOT_IN_1, 96)],
)
def test_older_formats(
  version: int,
  missing: Sequence[str],
  max_context: int,
  tmp_path: pathlib.Path,
):
  """Until 2 each mention had its own context, whose size was `context`; until
  3 each task had its part of the decoding.
  """
  made = tiny_system.make(
    tmp_path / "backbones", context="own", max_context=max_context
  )
  model_folder.save(tmp_path / "model", made)

  def age(config):
    _age(config, version=version)
    fields = config["tasks"]["classifier"]
    if version > 1:
      config["min_score"] = 0.3
      fields["temperature"] = 0.5
    if version < 3:
      fields["context"] = max_context
      for name in ("max_context", "positions", *missing):
        del fields[name]

  edit(tmp_path / "model", age)
  loaded = model_folder.load(str(tmp_path / "model"))
  found, task = loaded.tasks["classifier"], made.tasks["classifier"]
  assert dataclasses.replace(found, tokenizer=task.tokenizer) == task
  assert (found.context, found.max_context) == ("own", max_context)
  assert (found.positions, found.model.pooling) == ("question", "cls")
  # The higher of the two least scores that there were.
  assert loaded.decoding == (
    Decoding(-1.0, 0.5, Thresholds(0.3, {"thing": 0.6}))
    if version > 1
    else Decoding(-1.0, 1.0, Thresholds(0.2, {"thing": 0.6}))
  )


def test_files(saved: pathlib.Path):
  assert set(names(saved)) == {
    "README.md",
    "classifier.safetensors",
    "config.json",
    "detector.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  }
  for path in saved.iterdir():  # Readable by all who may, not owner only.
    assert path.stat().st_mode & 0o044
  assert "/" not in json.loads((saved / "tokenizer_config.json").read_text())


def test_each_task_may_have_its_tokenizer(tmp_path: pathlib.Path):
  trained = tiny_system.make(tmp_path / "backbones", same_tokenizer=False)
  folder = tmp_path / "model"
  model_folder.save(folder, trained)
  assert "detector/tokenizer.json" in names(folder)
  assert "tokenizer.json" not in names(folder)
  loaded = model_folder.load(str(folder))
  for name, task in trained.tasks.items():
    mine, theirs = (
      t([["Ada"]]) for t in (task.tokenizer, loaded.tasks[name].tokenizer)
    )
    assert mine.ids.tolist() == theirs.ids.tolist()


def edit(folder: pathlib.Path, change) -> None:
  path = folder / "config.json"
  config = json.loads(path.read_text())
  # As it says to whoever edits the file.
  config.pop("checksum", None)
  change(config)
  path.write_text(json.dumps(config))


def recode(folder: pathlib.Path, encoding: str) -> None:
  path = folder / "config.json"
  path.write_text(path.read_text(), encoding=encoding)


def tensors(folder: pathlib.Path, change) -> None:
  path = folder / "classifier.safetensors"
  found = load_file(path)
  change(found)
  save_file(found, path)


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda f: (f / "config.json").unlink(), "no model of splitner_jax"),
    (lambda f: (f / "config.json").write_text("{"), "Expecting property name"),
    (lambda f: (f / "config.json").write_text("[]"), "no model of splitner_j"),
    (lambda f: (f / "config.json").write_text("[" * 200_000), "too deep"),
    (lambda f: recode(f, "utf-8-sig"), "Unexpected UTF-8 BOM"),
    (lambda f: recode(f, "utf-16"), "not UTF-8"),
    (lambda f: edit(f, lambda c: c.update(library="x")), "no model of spl"),
    (lambda f: edit(f, lambda c: c.update(format_version=5)), "is newer than"),
    (lambda f: edit(f, lambda c: c.pop("system")), "'system' is a required"),
    (lambda f: edit(f, lambda c: c.update(system="x")), "none of splitner"),
    (
      lambda f: edit(f, lambda c: c["tasks"].pop("detector")),
      "'detector' is missing",
    ),
    (
      lambda f: edit(f, lambda c: c["tasks"]["detector"].pop("encoder")),
      "config.json: not as this program writes it",
    ),
    (
      lambda f: edit(
        f, lambda c: c["tasks"]["detector"]["encoder"].update(heads=2)
      ),
      "config.json: not as this program writes it",
    ),
    (
      lambda f: edit(
        f, lambda c: c["tasks"]["detector"].update(tokenizer="../x")
      ),
      "is no folder of a task",
    ),
    (
      lambda f: edit(f, lambda c: c["decoding"]["thresholds"].clear()),
      r"decoding.thresholds: 'default' is a required",
    ),
    (
      lambda f: edit(
        f, lambda c: c["tasks"]["detector"]["encoder"].update(family="x")
      ),
      r"tasks.detector.encoder.family: 'x' is not one of \['bert', 'roberta'",
    ),
    (
      lambda f: edit(
        f, lambda c: c["tasks"]["detector"]["encoder"].pop("family")
      ),
      "tasks.detector.encoder: 'family' is a required",
    ),
    (
      lambda f: (f / "detector.safetensors").unlink(),
      "detector.safetensors: is missing",
    ),
    (
      lambda f: (f / "detector.safetensors").write_bytes(
        (f / "detector.safetensors").read_bytes()[:-9]
      ),
      "detector.safetensors: cannot be read",
    ),
    (
      lambda f: tensors(
        f, lambda t: t.update({"classifier/bias": np.zeros(2, np.float32)})
      ),
      r"parameter classifier/bias is float32\[2\], not float32\[3\]",
    ),
    (
      lambda f: tensors(
        f, lambda t: t.update({"classifier/bias": np.zeros(3, np.float16)})
      ),
      "is float16",
    ),
    (
      lambda f: tensors(f, lambda t: t.pop("classifier/bias")),
      "parameter classifier/bias is missing",
    ),
    (
      lambda f: tensors(f, lambda t: t.update(x=np.zeros(1, np.float32))),
      "parameter x is one too many",
    ),
    (
      lambda f: [(f / n).unlink() for n in names(f) if "tokenizer" in n],
      "tokenizer's files are missing",
    ),
    (
      lambda f: (f / "tokenizer.json").write_text("{"),
      "no tokenizer could be read",
    ),
  ],
)
def test_broken_folders(copy: pathlib.Path, spoil, message: str):
  # As older folders are, which have no checksums.
  edit(copy, lambda c: c.pop("files"))
  spoil(copy)
  with pytest.raises(UserError, match=message) as caught:
    model_folder.load(str(copy))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "name",
  [
    "detector.safetensors",
    "classifier.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ],
)
def test_flipped_bits(copy: pathlib.Path, name: str):
  path = copy / name
  data = bytearray(path.read_bytes())
  data[-40] ^= 4
  path.write_bytes(data)
  with pytest.raises(UserError, match=f"{name}: is not as it was saved"):
    model_folder.load(str(copy))
  path.unlink()
  with pytest.raises(UserError, match=f"{name}: is missing"):
    model_folder.load(str(copy))


def _put(path: str, value: Any):
  """A change of the field at a path such as decoding.temperature."""

  def change(config) -> None:
    *folders, last = path.split(".")
    for name in folders:
      config = config[name]
    config[last] = value

  return change


@pytest.mark.parametrize(
  ("path", "value"),
  [
    ("tasks.classifier.none_class", "false"),
    ("tasks.classifier.labels", ["person", "thing", "thing"]),
    ("tasks.classifier.labels", ["person", "thing ", "location"]),
    ("tasks.classifier.labels", ["person", "th\ning", "location"]),
    ("tasks.classifier.labels", ["person", "", "location"]),
    ("tasks.classifier.labels", ["person", "\ud800", "location"]),
    ("tasks.detector.question", ["\ud800"]),
    ("tasks.detector.question", ["two words"]),
    ("tasks.classifier.pooling", "max"),
    ("tasks.classifier.max_context", 0),
    ("tasks.classifier.question", ["What", "?"]),
    ("tasks.classifier.question", ["{mention}", "{mention}"]),
    ("tasks.detector.features", ["char", "colour"]),
    ("tasks.detector.features", "char"),
    ("tasks.detector.max_length", 0),
    ("tasks.detector.max_length", 200.0),
    ("tasks.detector.max_length", True),
    ("tasks.detector.scheme", "IOB1"),
    ("tasks.detector.reference", 0),
    ("tasks.detector.encoder.layer_norm_eps", 0),
    ("tasks.detector.encoder.hidden_dropout", 2),
    ("tasks.detector.encoder.num_layers", 10**9),
    ("tasks.detector.encoder.activation", "swish"),
    ("decoding.temperature", 0),
    ("decoding.temperature", -1.0),
    ("decoding.temperature", 1e-320),
    ("decoding.temperature", float("nan")),
    ("decoding.temperature", 10**400),
    ("decoding.outside_bias", "0"),
    ("decoding.thresholds.default", float("nan")),
    ("decoding.thresholds.per_type", {"thing": None}),
    ("decoding.thresholds.per_type", {"thing": 1.5}),
    ("decoding.thresholds.per_type", {"Person": 0.5}),
    ("text_style.unit_words", -1),
    ("text_style.split_hyphens", "yes"),
  ],
)
def test_impossible_fields(copy: pathlib.Path, path: str, value: Any):
  edit(copy, _put(path, value))
  with pytest.raises(UserError, match=r"config\.json: not as this") as caught:
    model_folder.load(str(copy))
  message = str(caught.value)
  assert "\n" not in message
  # The field is named; of NaN the line.
  assert path in message or "NaN is no number of JSON" in message


@pytest.mark.parametrize(
  ("task", "length", "least"), [("detector", 1, 140), ("classifier", 3, 135)]
)
def test_inputs_that_are_too_short(
  copy: pathlib.Path, task: str, length: int, least: int
):
  edit(copy, _put(f"tasks.{task}.max_length", length))
  with pytest.raises(UserError, match=f"{length} is too short.*least {least}"):
    model_folder.load(str(copy))


@pytest.mark.parametrize("version", ["4", 4.0, None, 0, True])
def test_a_version_that_is_none(copy: pathlib.Path, version: Any):
  edit(copy, _put("format_version", version))
  with pytest.raises(UserError, match=f"format_version {version!r} is no num"):
    model_folder.load(str(copy))


def test_a_flipped_bit_of_the_fields(copy: pathlib.Path):
  """Here the schema alone would see nothing."""
  path = copy / "config.json"
  path.write_text(path.read_text().replace("0.25", "0.75", 1))
  with pytest.raises(UserError, match="delete its line 'checksum'"):
    model_folder.load(str(copy))
  edit(copy, lambda config: None)
  found = model_folder.load(str(copy)).decoding
  assert found.thresholds.default == 0.75
  # What the program changes it may change.
  model_folder.save_decoding(copy, dataclasses.replace(found, temperature=3.0))
  assert model_folder.load(str(copy)).decoding.temperature == 3.0


def test_a_key_twice(copy: pathlib.Path):
  path = copy / "config.json"
  text = path.read_text().replace("{", '{"system": "single_qa",', 1)
  path.write_text(text)
  with pytest.raises(UserError, match="key 'system' appears twice"):
    model_folder.load(str(copy))


def test_parameters_that_are_not_finite(copy: pathlib.Path):
  edit(copy, lambda c: c.pop("files"))
  bias = np.array([0, np.nan, 1], np.float32)
  tensors(copy, lambda t: t.update({"classifier/bias": bias}))
  with pytest.raises(UserError, match="parameter classifier/bias is not fin"):
    model_folder.load(str(copy))


def test_a_tokenizer_of_a_larger_vocabulary(copy: pathlib.Path):
  edit(copy, lambda c: c.pop("files"))
  path = copy / "tokenizer.json"
  fields = json.loads(path.read_text())
  fields["model"]["vocab"]["newest"] = 10_000
  path.write_text(json.dumps(fields))
  with pytest.raises(UserError, match="its token 'newest' has the id 10000"):
    model_folder.load(str(copy))


def test_a_tokenizer_without_its_vocabulary(copy: pathlib.Path):
  """transformers makes an empty one of the rest."""
  edit(copy, lambda c: c.pop("files"))
  (copy / "tokenizer.json").unlink()
  with pytest.raises(UserError, match="its tokenizer has no vocabulary"):
    model_folder.load(str(copy))


def test_hub(saved: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  asked = {}

  def download(name, allow_patterns):
    asked[name] = allow_patterns
    return str(saved)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert model_folder.load("someone/model").labels == tiny_system.TYPES
  assert not any(p.endswith((".py", ".bin")) for p in asked["someone/model"])
  assert "*.safetensors" in asked["someone/model"]
  model_folder.load("someone/model", weights=False)
  assert "*.safetensors" not in asked["someone/model"]
  with pytest.raises(UserError, match="is no folder"):
    model_folder.load("no/such/folder")


def test_compute_dtype(saved: pathlib.Path):
  loaded = model_folder.load(str(saved), compute_dtype="bfloat16")
  assert loaded.tasks["detector"].model.encoder.dtype == "bfloat16"
  with pytest.raises(UserError, match="none of auto"):
    model_folder.load(str(saved), compute_dtype="int8")
