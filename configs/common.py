"""Every field of a config with its default; data sets override a few."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The defaults: the paper's recipe, with fewer epochs."""
  config = config_dict.ConfigDict()
  # A folder, a hub id, or `minilm`, the small one that the set-up brings.
  config.backbone = "bert-base-uncased"
  # Longest model input in sub-tokens; longer sentences are read in windows.
  config.max_length = 256
  # Examples per step over all devices: sentences, mentions for the classifier.
  config.batch_size = 16
  # At the first step; decays linearly to 0 at the last.
  config.learning_rate = 5e-5
  # At most so many; training stops earlier by `patience`.
  config.epochs = 10
  # Stop after so many epochs without a better dev F1.
  config.patience = 3
  # Decoupled weight decay; biases and normalisation do not decay.
  config.weight_decay = 0.0
  # The gradient's global norm is cut to this.
  config.clip_norm = 1.0
  # Of hidden states, attention weights and features.
  config.dropout = 0.1
  # Decides the new layers, the order of the examples and dropout.
  config.seed = 0
  # Of the computation: float32, bfloat16, or auto: bfloat16 on TPU and GPU.
  # Parameters, losses and the optimizer are always float32.
  config.compute_dtype = "auto"
  # Rows of a batch in evaluation and prediction, over all devices.
  config.inference_batch_size = 32
  # A checkpoint every so many steps; also every five minutes and each epoch.
  config.checkpoint_every = 1000

  config.data = config_dict.ConfigDict()
  # A corpus of splitner_jax/data/corpora, or `files`: those given below.
  config.data.name = "files"
  # Folder with a corpus's original files; if not given they are downloaded.
  config.data.dir = config_dict.placeholder(str)
  # One's own files, columns or JSONL each; there may be no test file.
  config.data.train = config_dict.placeholder(str)
  config.data.dev = config_dict.placeholder(str)
  config.data.test = config_dict.placeholder(str)
  # Without a dev file: this share of the training sentences, at most 0.5.
  config.data.dev_fraction = 0.0
  # Which columns of one's own files hold word and tag; -1 is the last.
  config.data.word_column = 0
  config.data.tag_column = -1

  config.detector = _task()
  # Labels of the words of a mention: BO, BIO, BIOE or BIOES.
  config.detector.scheme = "BIOE"
  # Words before the sentence; empty for plain tagging.
  config.detector.question = (
    "Extract important entity spans from the following text ."
  )
  # Features beside the encoder: none, char, pattern or both.
  config.detector.features = "both"
  # What the loss is put on: first_subtoken of each word, or all_tokens
  # (question and special tokens too) as in the reference.
  config.detector.labels_on = "first_subtoken"
  # A span detector of the paper's authors to go on from: folder or hub id; it
  # takes the place of the backbone.
  config.detector.checkpoint = config_dict.placeholder(str)
  # cross_entropy or dice.
  config.detector.loss = "cross_entropy"
  # Added to the logit of O before decoding: below 0 finds more mentions.
  config.detector.o_bias = 0.0

  config.classifier = _task()
  # cross_entropy, or dice as in the paper, which needs more epochs: WNUT17 dev
  # with MiniLM, 3 epochs at 1e-4, gold mentions: 76.3 against 72.4.
  config.classifier.loss = "cross_entropy"
  # A span classifier of the paper's authors, likewise.
  config.classifier.checkpoint = config_dict.placeholder(str)
  # Its entity types in their order, A,B,..., if it does not name them itself.
  config.classifier.labels = ""
  # The most sub-tokens of the sentence that it reads around a mention.
  config.classifier.context = 128
  return config


# Fields that a task may have of its own.
_OVERRIDES = {
  "backbone": str,
  "max_length": int,
  "batch_size": int,
  "learning_rate": float,
  "epochs": int,
  "patience": int,
  "weight_decay": float,
  "seed": int,
}


def _task() -> config_dict.ConfigDict:
  """A task's part: whatever is None there is taken from the top level."""
  return config_dict.ConfigDict(
    {name: config_dict.placeholder(kind) for name, kind in _OVERRIDES.items()}
  )


def with_variant(
  config: config_dict.ConfigDict, variant: str | None
) -> config_dict.ConfigDict:
  """Applies what follows the colon in `--config=configs/wnut17.py:paper`."""
  if variant == "paper":
    # The reference's shipped configs: slow and long, best dev kept.
    config.classifier.loss = "dice"
    config.learning_rate = 1e-5
    config.epochs = 300
    config.patience = 300
    config.detector.labels_on = "all_tokens"
  elif variant:
    raise ValueError(f"no variant {variant!r} of this config; there is: paper")
  return config
