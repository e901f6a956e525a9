"""The rows of the pages: each a system or setting, by what it changes."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Run:
  """A system or setting of a table.

  Attributes:
    title: what the tables call it.
    variant: what follows the colon of --config.
    fields: what it changes beside that.
    cost: about how long it takes beside others, to do the cheap ones first.
    seeds: at most so many of the seeds.
    why_not: why it cannot be run, or "".
  """

  title: str
  variant: str = ""
  fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
  cost: float = 1.0
  seeds: int = 99
  why_not: str = ""


_SUBSET = {"data.limit": 500}
_SHARED = {
  "classifier.context": "shared",
  "classifier.positions": "question",
  "classifier.pooling": "cls",
}
_MENTION = {"classifier.pooling": "mention"}
_NONE_CLASS = {"classifier.none_class": True}
_TUNED = {"tune_decoding": True}


# By confusion on dev, with `groups`.
_GROUPS = {
  "wnut17": "corporation,product;creative-work,group,person;location",
  "bionlp13cg": (
    "Amino_acid,Simple_chemical,Gene_or_gene_product,Organism_substance,"
    "Organism;Anatomical_system,Multi-tissue_structure,"
    "Immaterial_anatomical_entity,Developing_anatomical_structure,"
    "Organism_subdivision,Organ,Tissue,Cellular_component,Cancer,"
    "Pathological_formation;Cell"
  ),
}


def _split(groups: str) -> str:
  """Groups of the types that `data.split_types` makes of their types."""
  return ";".join(
    ",".join(f"{label}-{i}" for label in group.split(",") for i in (1, 2, 3))
    for group in groups.split(";")
  )


RUNS: dict[str, Run] = {
  "qa_qa": Run("SplitNER(QA-QA)"),
  "no_char_pattern": Run("SplitNER(QA-NoCharPattern-QA)", "no_char_pattern"),
  "seqtag_qa": Run("SplitNER(SeqTag-QA)", "seqtag_qa"),
  "single_seqtag": Run("Single(SeqTag)", "single_seqtag"),
  "single_qa": Run("Single(QA)", "single_qa", cost=9.0, seeds=1),
  "qa_qa_500": Run(
    "SplitNER(QA-QA), 500 sentences", fields=_SUBSET, cost=0.3, seeds=1
  ),
  "single_qa_500": Run(
    "Single(QA), 500 sentences", "single_qa", _SUBSET, cost=8.0, seeds=1
  ),
  "char": Run("characters only", fields={"detector.features": "char"}),
  "pattern": Run("patterns only", fields={"detector.features": "pattern"}),
  "both_pos": Run(
    "characters, patterns, parts of speech",
    fields={"detector.features": "both+pos"},
    why_not="the data has no parts of speech",
  ),
  "dice": Run("dice", fields={"classifier.loss": "dice"}),
  "where": Run(
    "Where is the entity mentioned in the text ?",
    "no_char_pattern",
    {"detector.question": "Where is the entity mentioned in the text ?"},
  ),
  "find": Run(
    "Find named entities in the following text .",
    "no_char_pattern",
    {"detector.question": "Find named entities in the following text ."},
  ),
  "no_question": Run("(no question)", "no_char_pattern,seqtag_qa"),
  "own": Run("a context of its own", fields={"classifier.context": "own"}),
  "shared_cls": Run("shared: own [CLS]", fields=_SHARED, cost=0.5),
  "shared_positions": Run(
    "shared: own [CLS], the mention's positions",
    fields={**_SHARED, "classifier.positions": "sentence"},
    cost=0.5,
  ),
  "mention": Run("SplitNER, mention pooling", fields=_MENTION, cost=0.6),
  "tuned": Run("SplitNER, tuned decoding", fields=_TUNED, cost=0.3),
  **{
    f"{name}_{epochs}": Run(
      f"{title}, at most {epochs} epochs",
      variant,
      {**_TUNED, "epochs": epochs},
      cost=epochs / 6,
    )
    for name, title, variant in (
      ("tuned", "SplitNER", ""),
      ("single_seqtag_tuned", "Single(SeqTag)", "single_seqtag"),
    )
    for epochs in (6, 10)
  },
  **{
    name: Run(title, fields={**_TUNED, "detector.features": features})
    for name, title, features in (
      ("no_features", "none", "none"),
      ("shape", "characters, shape of the whole word", "char+shape"),
      ("affix", "both, prefixes and suffixes", "both+affix"),
      ("capitals", "both, capitals of the sentence", "both+capitals"),
      ("gazetteer", "both, gazetteer of training mentions", "both+gazetteer"),
    )
  },
  "finer": Run(
    "three types for each", fields={**_TUNED, "data.split_types": True}
  ),
  **{
    name: Run(
      f"{title}hierarchical, {groups.count(';') + 1} groups",
      fields={
        **_TUNED,
        "system": "hierarchical",
        "detector.groups": groups,
        **({"data.split_types": True} if title else {}),
      },
    )
    for name, title, groups in (
      *((f"groups_{dataset}", "", text) for dataset, text in _GROUPS.items()),
      (
        "finer_groups_wnut17",
        "three types for each, ",
        _split(_GROUPS["wnut17"]),
      ),
    )
  },
  "replaced": Run(
    "mentions replaced", fields={**_TUNED, "replace_mentions": 0.5}
  ),
  "tuned_500": Run("500 sentences", fields={**_TUNED, **_SUBSET}, cost=0.3),
  "replaced_500": Run(
    "500 sentences, mentions replaced",
    fields={**_TUNED, **_SUBSET, "replace_mentions": 0.5},
    cost=0.4,
  ),
  "longer_500": Run(
    "500 sentences, as many steps as with mentions replaced",
    fields={
      **_TUNED,
      **_SUBSET,
      "detector.epochs": 4,
      "classifier.epochs": 5,
    },
    cost=0.4,
  ),
  "names_smoothed": Run(
    "SplitNER, last layer from names, labels smoothed",
    fields={
      **_TUNED,
      "classifier.last_layer": "names",
      "classifier.loss": "smoothed_cross_entropy",
    },
  ),
  "none_class": Run("SplitNER, none class", fields=_NONE_CLASS, cost=2.0),
  "joined": Run(
    "SplitNER, none class, tuned decoding",
    fields={**_NONE_CLASS, **_TUNED},
    cost=2.1,
  ),
  "single_seqtag_tuned": Run(
    "Single(SeqTag), tuned decoding",
    "single_seqtag",
    _TUNED,
    cost=0.5,
  ),
  "single_seqtag_smoothed_6": Run(
    "Single(SeqTag), labels smoothed, at most 6 epochs",
    "single_seqtag",
    {**_TUNED, "epochs": 6, "tagger.loss": "smoothed_cross_entropy"},
  ),
}
"""All runs, by the name of their folder."""
