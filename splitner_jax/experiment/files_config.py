"""The config of one's own files, which commands without --config use."""

from ml_collections import config_dict

from splitner_jax.experiment import default_config


def get_config(variant: str | None = None) -> config_dict.ConfigDict:
  config = default_config.get_config()
  config.backbone = "minilm"
  return default_config.with_variant(config, variant)
