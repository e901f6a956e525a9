"""Backbones by their sizes alone, for measuring: no weights are needed.

Time does not depend on the weights, so that those of a model of published
sizes, or of one with more positions than it was trained for, are random.
"""

import json
import pathlib
import shutil

from splitner_jax import pretrained
from splitner_jax.pretrained.folders import TOKENIZER_FILES, read_config
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

PREFIX = "random:"


def _bert(hidden: int, layers: int, heads: int, **others: object) -> Json:
  """A config.json with what is alike in most."""
  return {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": hidden,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "intermediate_size": 4 * hidden,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    **others,
  }


_ROBERTA = {
  "model_type": "roberta",
  "vocab_size": 50_265,
  "max_position_embeddings": 514,
  "type_vocab_size": 1,
  "pad_token_id": 1,
}
_T5 = {
  "model_type": "t5",
  "vocab_size": 32_128,
  "d_model": 768,
  "d_kv": 64,
  "d_ff": 3_072,
  "num_layers": 12,
  "num_heads": 12,
}
_MODERNBERT = {
  "model_type": "modernbert",
  "vocab_size": 50_368,
  "max_position_embeddings": 8_192,
}
SIZES: dict[str, Json] = {
  "minilm": _bert(384, 6, 12),
  "bert-base": _bert(768, 12, 12),
  "bert-large": _bert(1_024, 24, 16),
  "roberta-base": _bert(768, 12, 12, **_ROBERTA),
  "electra-base": _bert(768, 12, 12, model_type="electra", embedding_size=768),
  "modernbert-base": _bert(768, 22, 12, **_MODERNBERT, intermediate_size=1_152),
  "t5-base": _T5,
  "modernbert-large": _bert(
    1_024, 28, 16, **_MODERNBERT, intermediate_size=2_624
  ),
}
"""The published sizes, as the config.json of each says them."""


def sized(name: str, positions: int | None, folder: pathlib.Path) -> str:
  """A backbone that reads so many tokens, for `config.backbone`.

  Args:
    name: as in a config, or `random:` and a name in `SIZES`.
    positions: the longest input; None: the backbone's own.
    folder: gets a config and a tokenizer if there is no such backbone.

  Returns:
    `name` itself, or the folder.

  Raises:
    UserError: there is no such backbone.
  """
  size = name.removeprefix(PREFIX)
  if size == name and positions is None:
    return name
  if size != name and size not in SIZES:
    raise UserError(
      f"config.backbone: {name!r} is none of "
      f"{', '.join(PREFIX + n for n in SIZES)}"
    )
  # Made-up text has to be cut into words of some vocabulary.
  source = pretrained.resolve("minilm" if size != name else name)
  fields = SIZES[size] if size != name else read_config(source)
  folder.mkdir(parents=True, exist_ok=True)
  for file in TOKENIZER_FILES:
    if (pathlib.Path(source) / file).is_file():
      shutil.copy(pathlib.Path(source) / file, folder / file)
  path = folder / "config.json"
  path.write_text(json.dumps(fields))
  if positions is not None:
    own = pretrained.read_backbone(str(folder)).encoder
    # Where positions do not start at 0, it needs more of them.
    more = positions + own.max_positions - own.max_length
    path.write_text(json.dumps(fields | {"max_position_embeddings": more}))
  return str(folder)
