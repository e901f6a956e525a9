"""Every field of a config with its default; configs override a few."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The defaults: the paper's recipe, with fewer epochs."""
  config = config_dict.ConfigDict()
  # splitner; the baselines single_seqtag and single_qa use `tagger` below;
  # hierarchical, whose detector also says a group of types, see its `groups`.
  config.system = "splitner"
  # A folder, a hub id, or `minilm`, the small one that the set-up brings.
  config.backbone = "bert-base-uncased"
  # Longest model input in sub-tokens; longer sentences are read in windows.
  config.max_length = 256
  # Examples per step on average, over all devices: sentences, or mentions for
  # the classifier.
  config.batch_size = 16
  # At the first step; decays linearly to 0 at the last.
  config.learning_rate = 5e-5
  # A model's folder to go on from, of the same system and backbone. The types
  # are those of the corpus: what the model knows of them is taken over, others
  # begin as they would without it.
  config.start_from = config_dict.placeholder(str)
  # At most so many; training stops earlier by `patience`.
  config.epochs = 10
  # Stop after so many epochs without a better dev F1.
  config.patience = 3
  # End the training of a task after so many minutes, with an evaluation; 0: no
  # limit. Compiling counts.
  config.max_minutes = 0.0
  # Batches whose gradients are added up before the parameters change: a larger
  # batch in the memory of a small one.
  config.accumulate_steps = 1
  # Whether the backward pass computes each layer of the encoder again instead
  # of keeping what it needs: for large backbones in little memory.
  config.rematerialise = False
  # Decoupled weight decay; biases and normalisation do not decay.
  config.weight_decay = 0.0
  # The gradient's global norm is cut to this.
  config.clip_norm = 1.0
  # Of hidden states, attention weights and features.
  config.dropout = 0.1
  # With this probability a mention is replaced by another of its type and of
  # the training sentences, in copies that are trained on beside them; 0: there
  # are no copies.
  config.replace_mentions = 0.0
  # What the loss of a batch is divided by: `expected`, the weight of the labels
  # that batches have on average, or `batch`, its own, as in the reference.
  config.loss_average = "expected"
  # Tokens of a row, in which several examples stand behind each other; 0: what
  # is fastest on CPU, 256 on TPU and GPU.
  config.row_length = 0
  # Whether the backbone keeps its weights: only what is on top of it learns.
  config.freeze_backbone = False
  # Whether dev chooses `o_bias` and the least score of a mention, by F1.
  config.tune_decoding = False
  # Decides the new layers, the order of the examples and dropout.
  config.seed = 0
  # Several, such as 1,2,3: trains each, reports mean and standard deviation.
  config.seeds = ""
  # Of the computation: float32, bfloat16, or auto: bfloat16 on TPU and GPU.
  # Parameters, losses and the optimizer are always float32.
  config.compute_dtype = "auto"
  # Sentences of a batch in evaluation and prediction, about, over all devices.
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
  # Where the part of speech is; needed by the feature pos alone.
  config.data.pos_column = config_dict.placeholder(int)
  # Train on so many sentences only; 0: on all.
  config.data.limit = 0
  # Whether each type is three, by the number of words of its mentions: 1, 2 or
  # more. Kept for the question of what many types cost.
  config.data.split_types = False
  # Names of types for Single(QA)'s questions: GPE=country or city;ORG=...
  config.data.type_names = ""

  config.detector = _token_task()
  # Words before the sentence; empty for plain tagging.
  config.detector.question = (
    "Extract important entity spans from the following text ."
  )

  # The groups of types of the system hierarchical, such as PER,ORG;GPE; each
  # type is in one. Kept for the question whether they help to find mentions.
  config.detector.groups = ""

  config.classifier = _task()
  # See LOSSES in splitner_jax/training/losses.py. The paper has dice, which
  # needs more epochs: WNUT17 dev with MiniLM, 3 epochs at 1e-4, gold mentions:
  # 68.0 against 76.7, mean of 3 seeds.
  config.classifier.loss = "cross_entropy"
  config.classifier.question = "What is {mention} ?"
  # A span classifier of the paper's authors to go on from: folder or hub id;
  # it takes the place of the backbone.
  config.classifier.checkpoint = config_dict.placeholder(str)
  # Its entity types in their order, A,B,..., if it does not name them itself.
  config.classifier.labels = ""
  # `shared`: a sentence is read once, by itself, and all questions about it see
  # it; `own`: each question is read with the sentence, as in the paper. If not
  # given: shared, of a checkpoint own.
  config.classifier.context = config_dict.placeholder(object)
  # The most sub-tokens of the sentence that it reads around a mention.
  config.classifier.max_context = 128
  # Which positions the mention's tokens have in the question: those in the
  # `question`, as in the paper, or those in the `sentence`. If not given: the
  # paper's for an own context, else the other.
  config.classifier.positions = config_dict.placeholder(str)
  # How its last layer starts: `random`, or from what the untrained model makes
  # of the `names` of the types.
  config.classifier.last_layer = "random"
  # What it decides by: `cls`, the question's first token as in the paper;
  # `mention`, the mean of the mention's tokens in the question; `cls+span`, the
  # first token beside the mean of the mention's tokens in the sentence. If not
  # given: cls for an own context, else cls+span.
  config.classifier.pooling = config_dict.placeholder(str)
  # Whether it may say that a span is no mention. It learns that from what
  # detectors find wrongly in sentences that they were not trained on: so many
  # are trained, each without its share of the sentences.
  config.classifier.none_class = False
  config.classifier.folds = 2

  # Of the single-step systems.
  config.tagger = _token_task()
  # What Single(QA) puts before the sentence, for each type.
  config.tagger.question = "Extract {type} from the following text ."
  # The entity types of its checkpoint in their order.
  config.tagger.labels = ""
  return config


def _token_task() -> config_dict.ConfigDict:
  """The part of a task that labels words."""
  task = _task()
  # Labels of the words of a mention: BO, BIO, BIOE or BIOES.
  task.scheme = "BIOE"
  # Features beside the encoder: none, char, pattern, both; with parts of
  # speech, where the data has them: both+pos. Kept for the paper's question
  # whether others help, and not because they do: shape (the pattern of the
  # whole word, in place of pattern), affix, capitals, gazetteer (of the
  # training text's mentions, which the model's folder then holds, as it holds
  # the words for capitals), such as both+affix or char+shape.
  task.features = "both"
  # What the loss is put on: first_subtoken of each word, or all_tokens
  # (question and special tokens too) as in the reference.
  task.labels_on = "first_subtoken"
  # See LOSSES in splitner_jax/training/losses.py.
  task.loss = "cross_entropy"
  # Added to the logit of O before decoding: below 0 finds more mentions.
  task.o_bias = 0.0
  # A checkpoint of the paper's authors to go on from: folder or hub id; it
  # takes the place of the backbone.
  task.checkpoint = config_dict.placeholder(str)
  return task


# Fields that a task may have of its own.
_OVERRIDES = {
  "backbone": str,
  "max_length": int,
  "batch_size": int,
  "learning_rate": float,
  "epochs": int,
  "patience": int,
  "weight_decay": float,
  "freeze_backbone": bool,
  "seed": int,
}


def _task() -> config_dict.ConfigDict:
  """A task's part: whatever is None there is taken from the top level."""
  return config_dict.ConfigDict(
    {name: config_dict.placeholder(kind) for name, kind in _OVERRIDES.items()}
  )


VARIANTS = {
  "seqtag_qa": {"detector.question": ""},
  "no_char_pattern": {"detector.features": "none"},
  "single_qa": {"system": "single_qa"},
  "single_seqtag": {"system": "single_seqtag"},
  # The small backbone that the set-up brings, with what is best for SplitNER on
  # the dev sentences of WNUT17. Single(SeqTag) gains by 6 to 10 epochs, see
  # results/budget-wnut17.md and budget-bionlp13cg.md.
  "minilm": {
    "backbone": "minilm",
    "learning_rate": 1e-4,
    "epochs": 3,
    "tune_decoding": True,
  },
  # The reference's shipped configs: slow and long, best dev kept.
  "paper": {
    "classifier.loss": "dice",
    "classifier.context": "own",
    "learning_rate": 1e-5,
    "epochs": 300,
    "patience": 300,
    "loss_average": "batch",
    "detector.labels_on": "all_tokens",
    "tagger.labels_on": "all_tokens",
  },
}
"""What may follow the colon in `--config=configs/wnut17.py:single_qa`: the
paper's other systems, and its recipe; two with a comma: `:single_qa,paper`."""


def with_variant(
  config: config_dict.ConfigDict, variant: str | None
) -> config_dict.ConfigDict:
  """Applies variants, see `VARIANTS`."""
  for name in variant.split(",") if variant else []:
    if name not in VARIANTS:
      raise ValueError(
        f"no variant {name!r} of this config; there are: {', '.join(VARIANTS)}"
      )
    config.update_from_flattened_dict(VARIANTS[name])
  return config
