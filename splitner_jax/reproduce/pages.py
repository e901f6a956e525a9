"""The pages of results: the paper's figures, ours, and how ours were made."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from splitner_jax.evaluation import metrics
from splitner_jax.evaluation.significance import (
  SAMPLES,
  is_significant,
  p_value,
  unpack,
)
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment.seeds import mean_and_deviation
from splitner_jax.reproduce import budget as budget_page
from splitner_jax.reproduce import paper
from splitner_jax.reproduce.runs import RUNS, Budget, reports, shown_command
from splitner_jax.runtime.types import Json

Reports = list[Json]


class Column(NamedTuple):
  """A column of our figures."""

  title: str
  figure: Callable[[Json], float]


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
    extra: further sections.
  """

  title: str
  note: str
  runs: tuple[str, ...]
  published: dict[str, dict[str, dict[str, float]]]
  columns: tuple[Column, ...]
  more: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  names: dict[str, str] = dataclasses.field(default_factory=dict)
  extra: Callable[[dict[str, Reports], Budget], list[str]] = (
    lambda found, budget: []
  )

  def title_of(self, row: str) -> str:
    return self.names.get(row, RUNS[row].title)

  def rows(self, dataset: str) -> tuple[str, ...]:
    """The names of the rows on a data set."""
    more = self.more.get(dataset, ())
    # A system that is too slow for the whole is there on the subset alone.
    too_slow = "single_qa" if "single_qa_500" in more else None
    return tuple(name for name in self.runs if name != too_slow) + more


_HONEST = Column("all sentences", lambda r: r["test"]["all_sentences"]["f1"])
_REFERENCE = Column(
  "reference protocol", lambda r: r["test"]["reference_protocol"]["f1"]
)
_DETECTION = Column("detection", lambda r: r["test"]["detection"]["f1"])
_DETECTION_DEV = Column("detection, dev", lambda r: r["dev"]["detection"]["f1"])
_ON_GOLD = Column(
  "types of gold mentions",
  lambda r: r["test"]["classification_on_gold"]["f1"],
)
_ON_GOLD_DEV = Column(
  "types of gold mentions, dev",
  lambda r: r["dev"]["classification_on_gold"]["f1"],
)
_DEV = Column("dev, all sentences", lambda r: r["dev"]["all_sentences"]["f1"])


def _classifier_epoch(report: Json) -> float:
  return statistics.median(report["seconds"]["classifier"]["epochs"])


_CLASSIFIER_EPOCH = Column("an epoch of the classifier, s", _classifier_epoch)


def _is_single(name: str) -> bool:
  return "single" in RUNS[name].variant


def _verdict(found: dict[str, Reports], budget: Budget) -> list[str]:
  """Which kind of system wins over all sentences, first of all."""
  del budget
  groups: dict[bool, dict[str, Reports]] = {False: {}, True: {}}
  for name, rows in found.items():
    if rows:
      groups["data.limit" in RUNS[name].fields][name] = rows
  sentences = (
    _winner("Over all sentences", groups[False]),
    _winner("Trained on 500 sentences", groups[True]),
  )
  return [sentence for sentence in sentences if sentence]


def _winner(where: str, found: dict[str, Reports]) -> str:
  """One of each kind beside each other; "" if there are not both."""

  def best(single: bool, by: dict[str, float]) -> str | None:
    names = (name for name in found if _is_single(name) == single)
    return max(names, key=by.__getitem__, default=None)

  means, on_dev = (
    {name: statistics.fmean(map(c.figure, r)) for name, r in found.items()}
    for c in (_HONEST, _DEV)
  )
  # If the choice favours anyone, then not us.
  one, two = best(True, means), best(False, on_dev)
  if one is None or two is None:
    return ""
  difference = metrics.paired_bootstrap(
    _pooled(found[one]), _pooled(found[two]), SAMPLES
  )
  low, high = difference["interval"]
  wins = means[one] > means[two]
  chance = "" if is_significant(difference) else ", which may be chance"
  return (
    f"**{where} a {'single-step' if wins else 'two-step'} system "
    f"{'is ahead' if chance else 'wins'} here{chance}: "
    f"{RUNS[one if wins else two].title}, {means[one if wins else two]:.2f} "
    f"against {means[two if wins else one]:.2f} of "
    f"{RUNS[two if wins else one].title}.** Of the two-step systems it is the "
    "best on dev, of the single-step ones the best on test itself. Two steps "
    "less one step, over the pooled seeds: "
    f"{difference['difference']:+.2f}, 95 % interval of a paired bootstrap "
    f"{low:+.2f} to {high:+.2f}, {p_value(difference)}."
  )


def _pooled(found: Reports) -> Any:
  """Counts of each sentence, added over the seeds."""
  return sum(unpack(report["test"]["per_sentence"]) for report in found)


def _where_points_are_lost(found: dict[str, Reports]) -> list[str]:
  """What each step costs, and which mentions are not found."""
  parts = ["## Where the points are lost"]
  head = [
    "",
    "all sentences",
    "predicted spans, gold types",
    "gold spans, predicted types",
  ]
  columns = (_HONEST, _DETECTION, _ON_GOLD)
  rows = [head]
  for name, reports_ in found.items():
    if reports_:
      rows.append(
        [RUNS[name].title, *(_show(reports_, c.figure) for c in columns)]
      )
  parts.append(markdown_table(rows, left=1))
  for key, title in (("by_words", "words"), ("by_seen", "seen in train")):
    groups = next(
      list(r[0]["test"]["errors"]["recall"][key]) for r in found.values() if r
    )
    rows = [[f"recall by {title}: found (type right too)", *groups]]
    for name, reports_ in found.items():
      if reports_:
        cells = [_recall(reports_, key, group) for group in groups]
        rows.append([RUNS[name].title, *cells])
    parts.append(markdown_table(rows, left=1))
  return parts


def _recall(found: Reports, key: str, group: str) -> str:
  rows = [r["test"]["errors"]["recall"][key][group] for r in found]
  gold, detected, correct = (
    sum(row[k] for row in rows) for k in ("gold", "detected", "correct")
  )
  if not gold:
    return "-"
  return f"{100 * detected / gold:.1f} ({100 * correct / gold:.1f})"


_MIXED = "in percent; ± is the sample standard deviation over the seeds."

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
    (_REFERENCE, _HONEST),
    {"bionlp13cg": ("qa_qa_500", "single_qa_500")},
    extra=_verdict,
  ),
  "table4": Table(
    "Table 4: span detection with and without the two features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("qa_qa", "no_char_pattern"),
    {"paper": paper.DETECTION_F1},
    (_DETECTION,),
  ),
  "table5": Table(
    "Table 5: span detection by the features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("no_char_pattern", "char", "pattern", "qa_qa", "both_pos"),
    {"paper": paper.FEATURES_F1},
    (_DETECTION,),
    names={"no_char_pattern": "none", "qa_qa": "characters and patterns"},
  ),
  "table6": Table(
    "Table 6: classification of gold mentions by the loss",
    f"F1 of the types, {_MIXED} Cross entropy is our default.",
    ("dice", "qa_qa"),
    {"paper": paper.CLASSIFICATION_F1},
    (_ON_GOLD,),
    names={"qa_qa": "cross entropy"},
  ),
  "table7": Table(
    "Table 7: span detection by the question, without the two features",
    f"F1 of spans whatever their type, over all sentences, {_MIXED}",
    ("no_char_pattern", "where", "find", "no_question"),
    {"paper": paper.QUESTIONS_F1},
    (_DETECTION,),
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
    (_ON_GOLD_DEV, _ON_GOLD, _HONEST, _CLASSIFIER_EPOCH),
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
    (_DETECTION_DEV, _DETECTION, _DEV, _HONEST),
    names={"tuned": "characters and patterns (the default)"},
  ),
  "groups": Table(
    "A detector that says the group of types too",
    "Beyond the paper. Types in groups by what is confused on dev; the "
    "classifier decides within the group that the detector says. Decoding "
    f"tuned on dev, {_MIXED}",
    ("tuned",),
    {},
    (_DETECTION_DEV, _DETECTION, _DEV, _HONEST),
    {
      "wnut17": ("groups_wnut17",),
      "bionlp13cg": ("groups_bionlp13cg",),
    },
  ),
  "finer": Table(
    "A detector that says the group of types too, with finer types",
    "Beyond the paper. Each type of WNUT17 is three: mentions of one word, of "
    f"two, and of more. Decoding tuned on dev, {_MIXED}",
    (),
    {},
    (_DETECTION_DEV, _DETECTION, _DEV, _HONEST),
    {"wnut17": ("finer", "finer_groups_wnut17")},
    names={"finer": "SplitNER, 18 types"},
  ),
  "budget": Table(
    "F1 against training time",
    "Beyond the paper. Both systems with decoding tuned on dev, 3, 6 and 10 "
    "epochs with early stopping; the learning rate falls to 0 over the epochs "
    f"that are allowed. F1, {_MIXED}",
    budget_page.RUNS,
    {},
    (_DEV, _HONEST),
    extra=lambda found, budget: [
      *_verdict(found, budget),
      *budget_page.sections(found, budget),
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
    (_DEV, _HONEST),
    extra=_verdict,
  ),
}
"""The pages by the name that the command has for them."""


def page(name: str, budget: Budget, problems: dict[str, list[str]]) -> str:
  """A page with what there is so far.

  Args:
    name: of TABLES.
    budget: of the runs.
    problems: of each run, why it was not made.
  """
  table, dataset = TABLES[name], budget.dataset
  rows = table.rows(dataset)
  found = reports(budget, rows)
  head = ["", *table.published, *(c.title for c in table.columns), "seeds"]
  cells = [head]
  for row in rows:
    known = [
      figures.get(row, {}).get(dataset) for figures in table.published.values()
    ]
    published = ["" if x is None else f"{x:.2f}" for x in known]
    if found[row]:
      ours = [_show(found[row], c.figure) for c in table.columns]
    else:
      ours = ["not run"] * len(table.columns)
    cells.append([table.title_of(row), *published, *ours, str(len(found[row]))])
  parts = [f"# {table.title}, on {paper.DATASETS[dataset]}"]
  if any(found.values()):
    parts += table.extra(found, budget)
  parts += [table.note, markdown_table(cells, left=1)]
  if name == "joined" and any(found.values()):
    parts += _where_points_are_lost(found)
  reasons: dict[str, list[str]] = {}
  for row in rows:
    if not found[row]:
      why = (problems.get(row) or ["not yet"])[0]
      reasons.setdefault(why, []).append(table.title_of(row))
  parts += [f"Not run, {why}: {', '.join(t)}." for why, t in reasons.items()]
  return "\n\n".join([*parts, *_origin(name, budget, found)]) + "\n"


def _show(found: Reports, figure: Callable[[Json], float]) -> str:
  try:
    mean, deviation = mean_and_deviation([figure(report) for report in found])
  except KeyError:
    return "-"
  return f"{mean:.2f}" + (
    f" ± {deviation:.2f}" if deviation is not None else ""
  )


def _origin(name: str, budget: Budget, found: dict[str, Reports]) -> list[str]:
  """How the figures came about."""
  machines = {
    f"{len(r['devices'])} x {r['devices'][0]} ({r.get('machine', 'unknown')})"
    for row in found.values()
    for r in row
  }
  commands = [
    shown_command(budget, row, [r["config"]["seed"] for r in reports_])
    for row, reports_ in found.items()
    if reports_
  ]
  more = "".join(f" --set={k}={v}" for k, v in budget.more.items())
  return [
    "## How they were made",
    f"`launch/reproduce.sh {name} {budget.dataset}{more}`: backbone "
    f"{budget.backbone_name}, {budget.epochs} epochs, learning rate "
    f"{budget.learning_rate:g}, seeds {', '.join(map(str, budget.seeds))} "
    "(Single(QA), and what is on a subset: the first). Machine: "
    f"{', '.join(sorted(machines)) or 'none yet'}. The runs, whose reports "
    f"are under `runs/{budget.kept}`; what two of them train alike is "
    "trained once:",
    "```\n" + ("\n".join(commands) or "none yet") + "\n```",
  ]
