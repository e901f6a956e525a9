"""The tables of results: rows, columns, and what is said of them."""

import dataclasses
from collections.abc import Callable

from splitner_jax.reproduce import budget as training_time
from splitner_jax.reproduce import paper
from splitner_jax.reproduce.comparisons import (
  differences_to,
  verdict,
  where_points_are_lost,
)
from splitner_jax.reproduce.figures import (
  CLASSIFIER_EPOCH,
  DETECTION,
  DETECTION_DEV,
  DEV,
  HONEST,
  ON_GOLD,
  ON_GOLD_DEV,
  REFERENCE,
  Column,
  Reports,
)
from splitner_jax.reproduce.runs import RUNS, Budget

Sections = Callable[[dict[str, Reports], Budget], list[str]]
"""Parts of a page, from what there is of its runs."""


@dataclasses.dataclass(frozen=True)
class Table:
  """What a page shows.

  Attributes:
    title: with the number that the table has in the paper.
    note: what the reader has to know.
    runs: its rows, names of `runs.RUNS`.
    published: the paper's figure of some of them, by data set.
    columns: ours.
    more: rows only of the data sets named.
    names: what this page calls rows that others have too.
    before: sections before the table.
    after: sections after it.
  """

  title: str
  note: str
  runs: tuple[str, ...]
  published: dict[str, dict[str, dict[str, float]]]
  columns: tuple[Column, ...]
  more: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  names: dict[str, str] = dataclasses.field(default_factory=dict)
  before: Sections = lambda found, budget: []
  after: Sections = lambda found, budget: []

  def title_of(self, row: str) -> str:
    return self.names.get(row, RUNS[row].title)

  def rows(self, dataset: str) -> tuple[str, ...]:
    """The names of the rows on a data set."""
    more = self.more.get(dataset, ())
    # A system that is too slow for the whole is there on the subset alone.
    too_slow = "single_qa" if "single_qa_500" in more else None
    return tuple(name for name in self.runs if name != too_slow) + more


_MIXED = "in percent; ± is the sample standard deviation over the seeds."
_SPANS_AND_ALL = (DETECTION_DEV, DETECTION, DEV, HONEST)

TABLES: dict[str, Table] = {
  "table2": Table(
    "Table 2: mention-level micro F1",
    "*All sentences* is the honest figure. *Reference protocol* counts as the "
    "paper's code does (method and reasons: the README, Results); only it "
    "compares with the paper's column. Single(QA) has an example for each "
    "sentence and type: its epochs have so many times the steps. "
    f"All {_MIXED}",
    ("qa_qa", "no_char_pattern", "seqtag_qa", "single_qa", "single_seqtag"),
    {"paper": paper.MENTION_F1},
    (REFERENCE, HONEST),
    {"bionlp13cg": ("qa_qa_500", "single_qa_500")},
    before=verdict,
  ),
  "table4": Table(
    "Table 4: span detection with and without the two features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("qa_qa", "no_char_pattern"),
    {"paper": paper.DETECTION_F1},
    (DETECTION,),
  ),
  "table5": Table(
    "Table 5: span detection by the features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("no_char_pattern", "char", "pattern", "qa_qa", "both_pos"),
    {"paper": paper.FEATURES_F1},
    (DETECTION,),
    names={"no_char_pattern": "none", "qa_qa": "characters and patterns"},
  ),
  "table6": Table(
    "Table 6: classification of gold mentions by the loss",
    f"F1 of the types, {_MIXED} Cross entropy is our default.",
    ("dice", "qa_qa"),
    {"paper": paper.CLASSIFICATION_F1},
    (ON_GOLD,),
    names={"qa_qa": "cross entropy"},
  ),
  "table7": Table(
    "Table 7: span detection by the question, without the two features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("no_char_pattern", "where", "find", "no_question"),
    {"paper": paper.QUESTIONS_F1},
    (DETECTION,),
    names={
      "no_char_pattern": (
        "Extract important entity spans from the following text ."
      )
    },
  ),
  "context": Table(
    "What the classifier reads of a sentence",
    "Beyond the paper. *A context of its own*: each question is read with the "
    "sentence, as in the paper. *Shared*: a sentence is read once, by itself, "
    "and all of its questions see it and themselves, each from a [CLS] of its "
    "own; then the mention's tokens in the question have the positions that "
    "they have in the sentence; then the mean of the mention's tokens in the "
    "sentence stands beside that [CLS] (our default). F1 of the types of gold "
    f"mentions, and of the whole over all sentences, {_MIXED}",
    ("own", "shared_cls", "shared_positions", "qa_qa"),
    {},
    (ON_GOLD_DEV, ON_GOLD, HONEST, CLASSIFIER_EPOCH),
    names={"qa_qa": "shared: own [CLS], the mention's positions and mean"},
  ),
  "features": Table(
    "Other features of the detector",
    "Beyond the paper. *Shape*: the pattern of the whole word in the place of "
    "the sub-token's. *Prefixes and suffixes*: 2, 3 and 4 characters of the "
    "word. *Capitals*: of the word, its sentence, and the word in training "
    "text. *Gazetteer*: whether a word is in a text that is a mention in "
    "another training sentence. Detection is F1 of spans whatever their type; "
    f"decoding tuned on dev, {_MIXED}",
    ("no_features", "tuned", "shape", "affix", "capitals", "gazetteer"),
    {},
    _SPANS_AND_ALL,
    names={"tuned": "characters and patterns (the default)"},
    after=differences_to("tuned"),
  ),
  "types": Table(
    "How the classifier learns the types",
    "Beyond the paper. *Names*: the last layer starts from what the backbone "
    "makes of the names of the types. *Smoothed*: a tenth of each label is "
    "spread over all types. F1 of the types of gold mentions, and of the whole "
    f"with decoding tuned on dev, {_MIXED} Single(SeqTag) takes 1.2 times as "
    "long.",
    ("tuned", "names_smoothed"),
    {},
    (ON_GOLD_DEV, ON_GOLD, DEV, HONEST),
    {
      "wnut17": ("single_seqtag_tuned_6", "single_seqtag_smoothed_6"),
      "bionlp13cg": ("single_seqtag_tuned_10",),
    },
    before=verdict,
    after=differences_to("tuned"),
  ),
  "groups": Table(
    "A detector that says the group of types too",
    "Beyond the paper. Types in groups by what is confused on dev; the "
    "classifier decides within the group that the detector says. Decoding "
    f"tuned on dev, {_MIXED}",
    ("tuned",),
    {},
    _SPANS_AND_ALL,
    {
      "wnut17": ("groups_wnut17",),
      "bionlp13cg": ("groups_bionlp13cg",),
    },
    after=differences_to("tuned"),
  ),
  "finer": Table(
    "A detector that says the group of types too, with finer types",
    "Beyond the paper. Each type of WNUT17 is three: mentions of one word, of "
    f"two, and of more. Decoding tuned on dev, {_MIXED}",
    (),
    {},
    _SPANS_AND_ALL,
    {"wnut17": ("finer", "finer_groups_wnut17")},
    names={"finer": "SplitNER, 18 types"},
    after=differences_to("finer"),
  ),
  "budget": Table(
    "F1 against training time",
    "Beyond the paper. Both systems with decoding tuned on dev, 3, 6 and 10 "
    "epochs with early stopping; the learning rate falls to 0 over the epochs "
    f"that are allowed. F1, {_MIXED}",
    training_time.RUNS,
    {},
    (DEV, HONEST),
    before=lambda found, budget: [
      *verdict(found, budget),
      *training_time.sections(found, budget),
    ],
  ),
  "joined": Table(
    "The two steps better joined",
    "Beyond the paper. *Mention pooling*: the classifier decides by the mean "
    "of the mention's tokens, not by the first token. *None class*: the "
    "classifier may say that a span is no mention, which it learns from what "
    "detectors find wrongly in sentences that they were not trained on. "
    "*Tuned decoding*: what is added to the logit of O, and the least score "
    f"of a mention, are chosen on dev. F1, {_MIXED}",
    (
      "qa_qa",
      "mention",
      "tuned",
      "none_class",
      "joined",
      "single_seqtag",
      "single_seqtag_tuned",
    ),
    {},
    (DEV, HONEST),
    before=verdict,
    after=where_points_are_lost,
  ),
}
"""The pages by the name that the command has for them."""
