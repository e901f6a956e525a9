"""Tiny backbones and a tiny corpus, for tests that train."""

import json
import pathlib

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import models, normalizers, pre_tokenizers, trainers

CONFIG = {
  "model_type": "bert",
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 32,
  "max_position_embeddings": 512,
  "type_vocab_size": 2,
  "layer_norm_eps": 1e-12,
  "hidden_act": "gelu",
}

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NAMES = {
  "unk_token": "[UNK]",
  "cls_token": "[CLS]",
  "sep_token": "[SEP]",
  "pad_token": "[PAD]",
  "mask_token": "[MASK]",
}


def vocabulary() -> list[str]:
  """Special tokens, punctuation, letters, and some whole words."""
  words = "extract important entity spans from the following text what is"
  return [
    *_SPECIAL,
    *".,?!-@#&'",
    *_LETTERS,
    *(f"##{c}" for c in _LETTERS),
    *words.split(),
  ]


def make_backbone(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
  """Writes config.json, tokenizer files and random weights."""
  folder.mkdir(parents=True, exist_ok=True)
  config = {**CONFIG, "vocab_size": len(vocabulary())}
  (folder / "config.json").write_text(json.dumps(config))
  make_word_pieces(folder)
  rng = np.random.default_rng(seed)
  save_file(
    {
      name: rng.normal(0, 0.1, shape).astype(np.float32)
      + (1.0 if name.endswith("LayerNorm.weight") else 0.0)
      for name, shape in _shapes(config).items()
    },
    folder / "model.safetensors",
  )
  return folder


def make_word_pieces(folder: pathlib.Path) -> None:
  """Writes a tokenizer of BERT's kind."""
  vocab = vocabulary()
  tokenizer = tokenizers.Tokenizer(
    models.WordPiece(
      {token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"
    )
  )
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  # As published ones may: ours has to switch it off.
  tokenizer.enable_truncation(16)
  tokenizer.save(str(folder / "tokenizer.json"))
  (folder / "tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "BertTokenizer", **_NAMES})
  )
  (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")


def make_byte_level(folder: pathlib.Path) -> int:
  """Writes a tokenizer of ModernBERT's kind; returns its vocabulary's size.

  Byte-level BPE that, as published ones, adds no leading space itself, of no
  class of its own in transformers.
  """
  tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
  tokenizer.normalizer = normalizers.NFC()
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.train_from_iterator(
    [" the cat saw what is in the text"] * 9,
    trainers.BpeTrainer(
      vocab_size=290,
      special_tokens=_SPECIAL,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    ),
  )
  tokenizer.save(str(folder / "tokenizer.json"))
  (folder / "tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **_NAMES})
  )
  return tokenizer.get_vocab_size()


def make_sentence_pieces(folder: pathlib.Path) -> int:
  """Writes a tokenizer of T5's kind; returns its vocabulary's size.

  As published ones, it has no token to begin with, but one for what is left
  out.
  """
  special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
  letters = dict.fromkeys(_LETTERS + _LETTERS.upper())  # A digit is its own.
  pieces = ["▁", *"?.,-", *letters]
  pieces += ["▁what", "▁is", "▁the", "▁text"]
  # A word's first token is what stands for it: it must not be "▁" for all.
  pieces += ["▁ada", "▁bo", "▁cy", "▁eve", "▁rome", "▁oslo", "▁ur"]
  tokenizer = tokenizers.Tokenizer(
    models.Unigram(
      [(piece, 0.0) for piece in special]
      + [(piece, -9.0 / len(piece)) for piece in pieces],
      unk_id=2,
    )
  )
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
  tokenizer.save(str(folder / "tokenizer.json"))
  names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
  (folder / "tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
  )
  return tokenizer.get_vocab_size()


def _shapes(config) -> dict[str, tuple[int, ...]]:
  h, f = config["hidden_size"], config["intermediate_size"]
  shapes: dict[str, tuple[int, ...]] = {
    "embeddings.word_embeddings.weight": (config["vocab_size"], h),
    "embeddings.position_embeddings.weight": (
      config["max_position_embeddings"],
      h,
    ),
    "embeddings.token_type_embeddings.weight": (2, h),
    "pooler.dense.weight": (h, h),
    "pooler.dense.bias": (h,),
  }
  norms, linears = ["embeddings.LayerNorm"], {}
  for i in range(config["num_hidden_layers"]):
    layer = f"encoder.layer.{i}"
    for part in ("query", "key", "value"):
      linears[f"{layer}.attention.self.{part}"] = (h, h)
    linears[f"{layer}.attention.output.dense"] = (h, h)
    linears[f"{layer}.intermediate.dense"] = (f, h)
    linears[f"{layer}.output.dense"] = (h, f)
    norms += [
      f"{layer}.attention.output.LayerNorm",
      f"{layer}.output.LayerNorm",
    ]
  for name, shape in linears.items():
    shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
  for name in norms:
    shapes |= {f"{name}.weight": (h,), f"{name}.bias": (h,)}
  return shapes


def make_wnut(folder: pathlib.Path, train: int = 40, rest: int = 12):
  """Writes the three files of the corpus wnut17 with made-up sentences."""
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(1)
  people, places = ["ada", "bo", "cy d", "eve"], ["rome", "oslo bay", "ur"]
  verbs = ["likes", "left", "saw", "is in", "went to"]
  names = {
    "wnut17train.conll": train,
    "emerging.dev.conll": rest,
    "emerging.test.annotated": rest,
  }
  for name, count in names.items():
    lines = []
    for i in range(count):
      for words, label in (
        (people[rng.integers(4)], "person"),
        (verbs[rng.integers(5)] + " so" * int(rng.integers(12)), None),
        (places[rng.integers(3)], "location"),
        (f"{i} .", None),
      ):
        for j, word in enumerate(words.split()):
          prefix = "I" if j else "B"
          lines.append(f"{word}\t{f'{prefix}-{label}' if label else 'O'}")
      lines.append("")
    (folder / name).write_text("\n".join(lines))
  return folder
