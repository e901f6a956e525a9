import io
import json
import os
import pathlib
import pickle
import struct
import types
import zipfile
from collections.abc import Callable
from typing import Any

import huggingface_hub
import jax
import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import errors
from safetensors import numpy as safetensors_numpy

from splitner_jax import pretrained
from splitner_jax.errors import UserError
from splitner_jax.models import heads

Arrays = dict[str, np.ndarray]

_CONFIG: dict[str, Any] = {
  "model_type": "bert",
  "vocab_size": 11,
  "hidden_size": 6,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 8,
  "max_position_embeddings": 9,
  "type_vocab_size": 2,
}


def _random(*shape: int) -> np.ndarray:
  return np.random.default_rng(shape).standard_normal(shape, np.float32)


def _linear(name: str, inputs: int, outputs: int) -> Arrays:
  return {
    f"{name}.weight": _random(outputs, inputs),
    f"{name}.bias": _random(outputs),
  }


def _norm(name: str) -> Arrays:
  return {f"{name}.weight": 1.0 + _random(6), f"{name}.bias": _random(6)}


def _encoder() -> Arrays:
  """The tensors of transformers' BertModel for `_CONFIG`."""
  tensors = {
    "embeddings.word_embeddings.weight": _random(11, 6),
    "embeddings.position_embeddings.weight": _random(9, 6),
    "embeddings.token_type_embeddings.weight": _random(2, 6),
    **_norm("embeddings.LayerNorm"),
  }
  for i in range(2):
    layer = f"encoder.layer.{i}"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
      tensors |= _linear(f"{layer}.attention.{part}", 6, 6)
    tensors |= _norm(f"{layer}.attention.output.LayerNorm")
    tensors |= _linear(f"{layer}.intermediate.dense", 6, 8)
    tensors |= _linear(f"{layer}.output.dense", 8, 6)
    tensors |= _norm(f"{layer}.output.LayerNorm")
  return tensors | _linear("pooler.dense", 6, 6)


def _cnn(name: str, rows: int, widths: int) -> Arrays:
  tensors = {f"{name}.emb.weight": _random(rows, 50)}
  for i in range(widths):
    tensors[f"{name}.char_conv_{i}.weight"] = _random(800, 1, i + 1)
    tensors[f"{name}.char_conv_{i}.bias"] = _random(800)
  return tensors | _linear(f"{name}.lin", 800 * widths, 768)


def _detector(is_roberta: bool = False) -> Arrays:
  """A detector of the reference with the pattern feature."""
  prefix = "roberta." if is_roberta else "bert."
  tensors = {prefix + name: tensor for name, tensor in _encoder().items()}
  tensors |= _cnn("pattern_cnn" if is_roberta else "pattern_emb", 42, 3)
  for direction in ("", "_reverse"):
    for kind, inputs in (("ih", 768), ("hh", 256)):
      end = f"{kind}_l0{direction}"
      tensors[f"pattern_lstm.weight_{end}"] = _random(1024, inputs)
      tensors[f"pattern_lstm.bias_{end}"] = _random(1024)
  return tensors | _linear("classifier", 6 + 512, 4)


def _write(
  folder: pathlib.Path, tensors: Arrays | None = None, **config: Any
) -> str:
  (folder / "config.json").write_text(json.dumps(_CONFIG | config))
  if tensors is not None:
    safetensors_numpy.save_file(tensors, folder / "model.safetensors")
  return str(folder)


def _start(model: heads.SequenceClassifier | heads.TokenClassifier) -> Any:
  """Parameters of ones: nothing that a checkpoint has."""
  ids = np.zeros((1, 2), np.int32)
  batch = {"input_ids": ids, "token_types": ids, "mask": ids > 0}
  for feature in ("char", "pattern"):
    batch |= {f"{feature}_{k}": np.zeros((1, 8), np.int32) for k in _TABLES}
    batch[f"{feature}_index"] = ids
  shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
  return jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)


_TABLES = ("short", "long")


def _tagger(folder: str, features: tuple[str, ...] = (), rows: int = 0) -> Any:
  encoder = pretrained.read_backbone(folder).encoder
  return _start(heads.TokenClassifier(encoder, 4, features, rows, rows))


def _classifier(folder: str) -> Any:
  encoder = pretrained.read_backbone(folder).encoder
  return _start(heads.SequenceClassifier(encoder, 3))


def _fails(match: str, call: Callable[..., Any], *args: Any, **kwargs: Any):
  with pytest.raises(UserError, match=match) as error:
    call(*args, **kwargs)
  assert "\n" not in str(error.value)


# Finding a checkpoint.


def test_resolve_minilm(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv("SPLITNER_CACHE", str(tmp_path))
  _fails(r"launch/setup\.sh", pretrained.resolve, "minilm")
  (tmp_path / "all-MiniLM-L6-v2").mkdir()
  assert pretrained.resolve("minilm") == str(tmp_path / "all-MiniLM-L6-v2")


def test_resolve_folder(tmp_path: pathlib.Path) -> None:
  assert pretrained.resolve(str(tmp_path)) == str(tmp_path)
  for name in (str(tmp_path / "none"), "./a/b/c", "two words", ""):
    _fails("no folder", pretrained.resolve, name)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_resolve_hub(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
  asked: list[str] = []

  def download(name: str, allow_patterns: list[str]) -> str:
    assert name == "owner/model"
    asked.extend(allow_patterns)
    if weights in allow_patterns:
      (tmp_path / weights).touch()
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert pretrained.resolve("owner/model") == str(tmp_path)
  assert os.listdir(tmp_path) == [weights]
  assert "config.json" in asked
  assert ("pytorch_model.bin" in asked) == (weights == "pytorch_model.bin")
  assert not any(pattern.endswith((".py", "*")) for pattern in asked)


_RESPONSE: Any = types.SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize(
  ("error", "match"),
  [
    (errors.LocalEntryNotFoundError("offline"), "cannot be reached.*folder"),
    (RuntimeError("no\nroute"), "cannot be reached.*no route"),
    (
      errors.RepositoryNotFoundError("404", response=_RESPONSE),
      "no such model",
    ),
    (errors.GatedRepoError("403", response=_RESPONSE), "permission"),
  ],
)
def test_hub_errors(
  monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
  def download(*args: Any, **kwargs: Any) -> str:
    raise error

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  _fails(match, pretrained.resolve, "owner/model")


# Its config.


def test_read_backbone(tmp_path: pathlib.Path) -> None:
  backbone = pretrained.read_backbone(_write(tmp_path), dtype="bfloat16")
  encoder = backbone.encoder
  assert not backbone.is_roberta
  assert backbone.folder == str(tmp_path)
  assert (encoder.vocab_size, encoder.hidden_size) == (11, 6)
  assert (encoder.num_layers, encoder.num_heads) == (2, 2)
  assert (encoder.intermediate_size, encoder.max_positions) == (8, 9)
  assert (encoder.layer_norm_eps, encoder.activation) == (1e-12, "gelu")
  assert (encoder.position_offset, encoder.dtype) == (0, "bfloat16")


def test_read_roberta(tmp_path: pathlib.Path) -> None:
  folder = _write(
    tmp_path, model_type="roberta", type_vocab_size=1, layer_norm_eps=1e-5
  )
  backbone = pretrained.read_backbone(folder)
  assert backbone.is_roberta
  assert backbone.encoder.position_offset == 2
  assert backbone.encoder.max_length == 7
  assert backbone.encoder.layer_norm_eps == 1e-5


def test_config_without_model_type(tmp_path: pathlib.Path) -> None:
  config = {k: v for k, v in _CONFIG.items() if k != "model_type"}
  path = tmp_path / "config.json"
  path.write_text(json.dumps(config))
  assert not pretrained.read_backbone(str(tmp_path)).is_roberta
  path.write_text(json.dumps(config | {"architectures": ["RobertaModel"]}))
  assert pretrained.read_backbone(str(tmp_path)).is_roberta


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("model_type", "distilbert"),
    ("position_embedding_type", "relative_key"),
    ("is_decoder", True),
    ("hidden_act", "swish"),
    ("hidden_size", None),
    ("hidden_size", 7),
    ("num_hidden_layers", "2"),
    ("type_vocab_size", 0),
    ("layer_norm_eps", "tiny"),
    ("hidden_dropout_prob", 1.5),
  ],
)
def test_unsupported_config(
  tmp_path: pathlib.Path, field: str, value: Any
) -> None:
  folder = _write(tmp_path, **{field: value})
  _fails(rf"config\.json: {field} is ", pretrained.read_backbone, folder)


def test_broken_config(tmp_path: pathlib.Path) -> None:
  _fails("a folder with config.json", pretrained.read_backbone, str(tmp_path))
  for text in ("{", "[]", "\xff"):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    _fails("not ", pretrained.read_backbone, str(tmp_path))


# Its weights.


def test_fill(tmp_path: pathlib.Path) -> None:
  tensors = _encoder()
  folder = _write(tmp_path, tensors)
  params = pretrained.fill(_classifier(folder), folder)
  encoder = params["encoder"]
  for ours, theirs in (
    (encoder["embeddings"]["word"], "embeddings.word_embeddings.weight"),
    (encoder["embeddings"]["norm"]["scale"], "embeddings.LayerNorm.weight"),
    (
      encoder["layer_1"]["intermediate"]["kernel"].T,
      "encoder.layer.1.intermediate.dense.weight",
    ),
    (params["pooler"]["dense"]["kernel"].T, "pooler.dense.weight"),
  ):
    np.testing.assert_array_equal(ours, tensors[theirs])
    assert ours.dtype == np.float32
  assert (params["classifier"]["kernel"] == 1).all()


def test_fill_is_total(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, _encoder())
  params = pretrained.fill(_classifier(folder), folder)
  back = pretrained.foreign_tensors(params, is_roberta=False)
  expected = {f"bert.{name}": value for name, value in _encoder().items()}
  for name, tensor in expected.items():
    np.testing.assert_array_equal(back.pop(name), tensor, err_msg=name)
  assert back.keys() == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("prefix", ["", "bert.", "roberta."])
def test_old_names(tmp_path: pathlib.Path, prefix: str) -> None:
  folder = _write(tmp_path, _encoder())
  expected = pretrained.fill(_classifier(folder), folder)
  old = {
    prefix
    + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
      "LayerNorm.bias", "LayerNorm.beta"
    ): tensor
    for name, tensor in _encoder().items()
  }
  old |= {
    f"{prefix}embeddings.position_ids": np.arange(9)[None],
    "cls.predictions.bias": _random(11),
    "lm_head.dense.weight": _random(6, 6),
  }
  params = pretrained.fill(_classifier(folder), _write(tmp_path, old))
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_pooler_is_optional(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, _encoder())
  assert "pooler" not in pretrained.fill(_tagger(folder), folder)
  tensors = _encoder()
  del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]
  params = pretrained.fill(_classifier(folder), _write(tmp_path, tensors))
  assert (params["pooler"]["dense"]["kernel"] == 1).all()


def test_heads_of_another_task_are_dropped(tmp_path: pathlib.Path) -> None:
  tensors = _encoder() | _cnn("char_cnn", 95, 5) | _linear("classifier", 6, 9)
  folder = _write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder), folder)
  assert (params["classifier"]["kernel"] == 1).all()
  assert (params["encoder"]["embeddings"]["word"] != 1).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_dtypes(tmp_path: pathlib.Path, dtype: Any) -> None:
  tensors = {name: t.astype(dtype) for name, t in _encoder().items()}
  folder = _write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder), folder)
  word = params["encoder"]["embeddings"]["word"]
  assert word.dtype == np.float32
  np.testing.assert_array_equal(
    word, tensors["embeddings.word_embeddings.weight"].astype(np.float32)
  )


def test_missing_tensor(tmp_path: pathlib.Path) -> None:
  tensors = _encoder()
  del tensors["encoder.layer.1.attention.self.key.bias"]
  folder = _write(tmp_path, tensors)
  _fails(
    r"needs encoder\.layer\.1\.attention\.self\.key\.bias; .* has none",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_extra_tensors(tmp_path: pathlib.Path) -> None:
  layer = {
    name.replace("layer.1", "layer.2"): tensor
    for name, tensor in _encoder().items()
  }
  folder = _write(tmp_path, _encoder() | layer)
  _fails(
    r"needs none; .* has encoder\.layer\.2\..* and 12 more",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_wrong_shape(tmp_path: pathlib.Path) -> None:
  name = "bert.encoder.layer.0.output.dense.weight"
  tensors = {f"bert.{k}": v for k, v in _encoder().items()}
  folder = _write(tmp_path, tensors | {name: _random(6, 9)})
  _fails(
    r"bert\.encoder\.layer\.0\.output\.dense\.weight has shape \(6, 9\), but "
    r"the model has \(6, 8\)",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_unusable_tensors(tmp_path: pathlib.Path) -> None:
  name = "encoder.layer.0.output.dense.bias"
  folder = _write(tmp_path, _encoder() | {name: np.ones(6, np.int8)})
  _fails(f"{name} is int8", pretrained.fill, _tagger(folder), folder)
  _write(tmp_path, _encoder() | {f"bert.{name}": _random(6)})
  _fails("the same tensor", pretrained.fill, _tagger(folder), folder)


def test_truncated(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, _encoder())
  path = tmp_path / "model.safetensors"
  content = path.read_bytes()
  for length in (0, 5, len(content) - 1):
    path.write_bytes(content[:length])
    _fails("cannot be read", pretrained.fill, _tagger(folder), folder)


def test_no_weights(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path)
  _fails("no weights", pretrained.fill, _tagger(folder), folder)


# In shards.


def _write_shards(folder: pathlib.Path) -> dict[str, str]:
  tensors = _encoder()
  weight_map = {
    name: f"model-0000{1 + i % 2}-of-00002.safetensors"
    for i, name in enumerate(tensors)
  }
  for shard in set(weight_map.values()):
    part = {
      name: tensors[name] for name in tensors if weight_map[name] == shard
    }
    safetensors_numpy.save_file(part, folder / shard)
  _write_index(folder, weight_map)
  return weight_map


def _write_index(folder: pathlib.Path, weight_map: Any) -> None:
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, _encoder())
  expected = pretrained.fill(_classifier(folder), folder)
  (tmp_path / "model.safetensors").unlink()
  _write_shards(tmp_path)
  params = pretrained.fill(_classifier(folder), folder)
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_broken_shards(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path)
  params = _tagger(folder)
  weight_map = _write_shards(tmp_path)
  name = "pooler.dense.bias"
  _write_index(tmp_path, weight_map | {name: "../model.safetensors"})
  _fails("files of the same folder", pretrained.fill, params, folder)
  _write_index(tmp_path, weight_map | {name: 3})
  _fails("not an index", pretrained.fill, params, folder)
  _write_index(tmp_path, weight_map | {"more": weight_map[name]})
  _fails("example more", pretrained.fill, params, folder)
  _write_index(tmp_path, weight_map)
  (tmp_path / weight_map[name]).unlink()
  _fails("is missing", pretrained.fill, params, folder)


# In PyTorch's files: pickles put together by hand, so that they can lie.


def _value(value: Any) -> bytes:
  """The opcodes of a plain value."""
  return pickle.dumps(value, protocol=2)[2:-1]


def _storage(numel: Any = 6, key: Any = "0", kind: str = "FloatStorage"):
  parts = _value("storage") + b"ctorch\n%b\n" % kind.encode()
  return b"(%btQ" % (parts + _value(key) + _value("cpu") + _value(numel))


def _tensor(
  storage: bytes, offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1)
) -> bytes:
  view = _value(offset) + _value(size) + _value(stride)
  hooks = b"\x89ccollections\nOrderedDict\n)R"
  function = b"ctorch._utils\n_rebuild_tensor_v2\n"
  return function + b"(" + storage + view + hooks + b"tR"


def _table(**entries: bytes) -> bytes:
  items = b"".join(_value(name) + entry for name, entry in entries.items())
  table = b"ccollections\nOrderedDict\n)R(" + items + b"u"
  # As in a state dict, with attributes; one of them is meant badly.
  return b"\x80\x02" + table + _value({"_metadata": {}, "items": 3}) + b"b."


def _zip(pickled: bytes, data: bytes, compression: int = zipfile.ZIP_STORED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/byteorder", b"little")
    archive.writestr("archive/data/0", data)
  return file.getvalue()


def _legacy(pickled: bytes, data: bytes, numel: int = 6) -> bytes:
  return b"".join(
    [
      pickle.dumps(0x1950A86A20F9469CFC6C, 2),
      pickle.dumps(1001, 2),
      pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2),
      pickled,
      pickle.dumps(["0"], 2),
      struct.pack("<q", numel) + data,
    ]
  )


_DATA = np.arange(6, dtype=np.float32).tobytes()

both_formats = pytest.mark.parametrize("pack", [_zip, _legacy])


def _read(tmp_path: pathlib.Path, content: bytes) -> Arrays:
  path = tmp_path / "pytorch_model.bin"
  path.write_bytes(content)
  return pretrained.tensors.read_tensors(str(tmp_path))


@both_formats
def test_torch_file(tmp_path: pathlib.Path, pack: Any) -> None:
  pickled = _table(
    whole=_tensor(_storage()),
    turned=_tensor(_storage(), 1, (2, 2), (1, 3)),
    empty=_tensor(_storage(), 6, (0, 3), (3, 1)),
    scalar=_tensor(_storage(), 5, (), ()),
  )
  arrays = _read(tmp_path, pack(pickled, _DATA))
  np.testing.assert_array_equal(arrays["whole"], [[0, 1, 2], [3, 4, 5]])
  np.testing.assert_array_equal(arrays["turned"], [[1, 4], [2, 5]])
  assert arrays["empty"].shape == (0, 3)
  assert arrays["scalar"] == 5


def _hostile(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
  """The opcodes of a call of os.system that would leave a file."""
  monkeypatch.chdir(tmp_path)
  return b"cos\nsystem\n(" + _value("touch harm") + b"tR"


@both_formats
def test_hostile_call(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
  call = _hostile(tmp_path, monkeypatch)
  for pickled in (
    b"\x80\x02" + call + b".",
    _table(weight=call),
    _table(weight=_tensor(call)),
    _table(weight=_tensor(_storage()))[:-1] + call + b"b.",
  ):
    with pytest.raises(UserError, match=r"os\.system.*do not trust"):
      _read(tmp_path, pack(pickled, _DATA))
  assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
  "name",
  [
    "builtins eval",
    "builtins getattr",
    "numpy load",
    "torch load",
    "torch._utils _rebuild_parameter.__globals__",
    "collections OrderedDict.fromkeys",
  ],
)
def test_unknown_names(tmp_path: pathlib.Path, name: str) -> None:
  module, attribute = name.split()
  # A name with dots is looked up from protocol 4 on.
  call = _value(module) + _value(attribute) + b"\x93"
  pickled = b"\x80\x04" + call + b"."
  _fails(f"'{module}.{attribute}'", _read, tmp_path, _zip(pickled, _DATA))


@both_formats
def test_hostile_start_of_legacy(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
  """Also the pickles around the tensors are read with care."""
  call = b"\x80\x02" + _hostile(tmp_path, monkeypatch) + b"."
  good = _legacy(_table(weight=_tensor(_storage())), _DATA)
  magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
  keys = pickle.dumps(["0"], 2)
  for content in (call + good, magic + call, good.replace(keys, call)):
    _fails(r"os\.system", _read, tmp_path, content)
  assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
  "view",
  [
    (1, (2, 3), (3, 1)),
    (0, (2, 4), (3, 1)),
    (0, (2, 3), (4, 1)),
    (0, (1 << 62, 4), (1 << 62, 1)),
    (0, (1 << 40,), (0,)),
    (-1, (2, 3), (3, 1)),
    (0, (-2, -3), (3, 1)),
    (3, (2, 2), (-1, 1)),
    (0, (2, 3), (3,)),
    (0, (2.0, 3), (3, 1)),
    (0, [2, 3], [3, 1]),
    ("0", (2, 3), (3, 1)),
    (None, None, None),
  ],
  ids=str,
)
@both_formats
def test_views_outside_of_storage(
  tmp_path: pathlib.Path, pack: Any, view: tuple[Any, Any, Any]
) -> None:
  pickled = _table(weight=_tensor(_storage(), *view))
  _fails(
    "'weight' .*(does not fit|malformed)",
    _read,
    tmp_path,
    pack(pickled, _DATA),
  )


@pytest.mark.parametrize(
  "storage",
  [
    _storage(numel=7),
    _storage(numel=5),
    _storage(numel=-6),
    _storage(numel=6.0),
    _storage(numel=1 << 60),
    _storage(kind="DoubleStorage"),
    _storage(kind="IntStorage"),
    _storage(key="1"),
    _storage(key="../data.pkl"),
    _storage(key=0),
    _value("not a storage"),
  ],
)
@both_formats
def test_malformed_storages(
  tmp_path: pathlib.Path, pack: Any, storage: bytes
) -> None:
  pickled = _table(good=_tensor(_storage()), bad=_tensor(storage))
  _fails(r"pytorch_model\.bin: ", _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_attributes_of_builders_stay(tmp_path: pathlib.Path, pack: Any) -> None:
  """A pickle can set attributes, but on nothing that outlives it."""
  for target in (
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    _storage(),
    _tensor(_storage()),
  ):
    state = _value((None, {"__defaults__": (), "numel": 100}))
    pickled = b"\x80\x02" + target + state + b"b."
    _fails("damaged", _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_not_a_table_of_tensors(tmp_path: pathlib.Path, pack: Any) -> None:
  for pickled, match in (
    (pickle.dumps(3, 2), "int, not a dictionary"),
    (_table(epoch=_value(3)), "'epoch' is int"),
    (_table(model=_value({})), r"model\.state_dict\(\)"),
  ):
    _fails(match, _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_truncated_torch_file(tmp_path: pathlib.Path, pack: Any) -> None:
  content = pack(_table(weight=_tensor(_storage())), _DATA)
  assert _read(tmp_path, content)
  for length in range(0, len(content), 7):
    _fails(
      r"pytorch_model\.bin: .*(damaged|cut off)",
      _read,
      tmp_path,
      content[:length],
    )


def test_compressed_zip(tmp_path: pathlib.Path) -> None:
  pickled = _table(weight=_tensor(_storage()))
  content = _zip(pickled, _DATA, zipfile.ZIP_DEFLATED)
  _fails("compressed", _read, tmp_path, content)


# Checkpoints of the reference.


@pytest.mark.parametrize("is_roberta", [False, True], ids=["bert", "roberta"])
def test_detector(tmp_path: pathlib.Path, is_roberta: bool) -> None:
  tensors = _detector(is_roberta)
  family = "roberta" if is_roberta else "bert"
  folder = _write(tmp_path, tensors, model_type=family)
  head = pretrained.read_head(folder)
  assert head == pretrained.Head(4, ("pattern",), 0, 42)
  params = pretrained.fill(
    _tagger(folder, head.features, 42), folder, complete=True
  )
  back = pretrained.foreign_tensors(params, is_roberta)
  for name, tensor in back.items():
    expected = tensors[name]
    if "bias_ih" in name:
      expected = expected + tensors[name.replace("_ih_", "_hh_")]
    if "bias_hh" in name:
      expected = np.zeros_like(expected)
    np.testing.assert_array_equal(tensor, expected, err_msg=name)
  unused = {f"{family}.pooler.dense.weight", f"{family}.pooler.dense.bias"}
  assert tensors.keys() - back.keys() == unused


def test_larger_alphabet(tmp_path: pathlib.Path) -> None:
  """Ours has one character more, which stays as it is."""
  tensors = _detector()
  folder = _write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder, ("pattern",), 43), folder)
  table = params["pattern"]["cnn"]["embedding"]
  np.testing.assert_array_equal(table[:42], tensors["pattern_emb.emb.weight"])
  assert (table[42] == 1).all()
  _fails(
    r"pattern_emb\.emb\.weight has shape \(42, 50\)",
    pretrained.fill,
    _tagger(folder, ("pattern",), 44),
    folder,
  )


def test_complete(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, _detector())
  _fails(
    r"needs char_cnn\..* has none",
    pretrained.fill,
    _tagger(folder, ("char", "pattern"), 42),
    folder,
    complete=True,
  )
  tensors = _encoder() | _cnn("char_cnn", 95, 5) | _linear("classifier", 6, 4)
  _write(tmp_path, tensors)
  _fails(
    r"needs none; .* has char_cnn\.",
    pretrained.fill,
    _tagger(folder),
    folder,
    complete=True,
  )
  _write(tmp_path, _encoder())
  _fails(
    r"needs classifier\.bias",
    pretrained.fill,
    _tagger(folder),
    folder,
    complete=True,
  )
  _fails("it is a backbone", pretrained.read_head, folder)


def test_incomplete_part(tmp_path: pathlib.Path) -> None:
  """A part of a checkpoint is taken whole or not at all."""
  tensors = _detector()
  del tensors["pattern_lstm.bias_hh_l0_reverse"]
  folder = _write(tmp_path, tensors)
  _fails(
    r"needs pattern_lstm\.bias_hh_l0_reverse",
    pretrained.fill,
    _tagger(folder, ("pattern",), 42),
    folder,
  )


def test_entity_types(tmp_path: pathlib.Path) -> None:
  folder = _write(tmp_path, id2label={"1": "gene", "0": "cell"})
  assert pretrained.entity_types(folder, 2) == ("cell", "gene")
  given = ("gene", "cell")
  assert pretrained.entity_types(folder, 2, given) == given
  for call in (
    lambda: pretrained.entity_types(folder, 3),
    lambda: pretrained.entity_types(folder, 2, ("cell", "cell")),
  ):
    _fails(r"--config\.classifier\.labels=", call)


@pytest.mark.parametrize(
  "config",
  [
    {},
    {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
    {"id2label": {"1": "cell", "2": "gene"}},
    {"id2label": ["cell", "gene"]},
  ],
)
def test_unnamed_entity_types(
  tmp_path: pathlib.Path, config: dict[str, Any]
) -> None:
  folder = _write(tmp_path, **config)
  _fails(r"--config\.classifier\.labels=", pretrained.entity_types, folder, 2)


# Writing one.


def test_export(tmp_path: pathlib.Path) -> None:
  source = tmp_path / "backbone"
  source.mkdir()
  folder = _write(
    source,
    _encoder(),
    architectures=["BertForMaskedLM"],
    torch_dtype="float16",
    auto_map={"AutoModel": "code.Model"},
  )
  (source / "vocab.txt").write_text("[PAD]\n")
  (source / "code.py").write_text("")
  params = pretrained.fill(_classifier(folder), folder)
  backbone = pretrained.read_backbone(folder)
  target = tmp_path / "models" / "exported"
  pretrained.export(params, str(target), backbone)
  assert sorted(os.listdir(target.parent)) == ["exported"]
  assert sorted(os.listdir(target)) == [
    "config.json",
    "model.safetensors",
    "vocab.txt",
  ]
  config = json.loads((target / "config.json").read_text())
  assert config == _CONFIG | {
    "architectures": ["BertModel"],
    "dtype": "float32",
  }
  found = safetensors_numpy.load_file(target / "model.safetensors")
  assert found.keys() == _encoder().keys()
  for name, tensor in _encoder().items():
    np.testing.assert_array_equal(found[name], tensor, err_msg=name)
  _fails("is not empty", pretrained.export, params, str(target), backbone)


def test_failed_export_leaves_nothing(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  source = tmp_path / "backbone"
  source.mkdir()
  folder = _write(source, _encoder())
  params = pretrained.fill(_classifier(folder), folder)

  def fail(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", fail)
  _fails(
    "No space left",
    pretrained.export,
    params,
    str(tmp_path / "exported"),
    pretrained.read_backbone(folder),
  )
  assert os.listdir(tmp_path) == ["backbone"]
