"""Two runs side by side: is the difference of their F1 more than chance?

Compared are the counts of each sentence, `per_sentence` of a split in
report.json, by paired bootstrap over sentences. That answers whether other
sentences of the same kind might turn the result round; how much another seed
changes is seen by giving folders with several seeds, whose counts are added.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from splitner_jax.evaluation import metrics, tables
from splitner_jax.evaluation.significance import (
  SAMPLES,
  is_significant,
  p_value,
  unpack,
)
from splitner_jax.experiment import report
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json


class _Report(NamedTuple):
  """What the comparison needs of a report.json.

  Attributes:
    content: the content_hash of the corpus.
    splits: the parts of the splits that it has.
  """

  path: pathlib.Path
  system: str
  corpus: str
  content: str
  splits: Json


def run(a: str, b: str) -> None:
  """Prints the comparison of two runs as Markdown.

  Args:
    a: a report.json, a folder with one, or a folder of seed-*/report.json.
    b: the same of the other run.

  Raises:
    UserError: one is not there or no report with counts of each sentence, or
      they are not of the same sentences.
  """
  print(compare(a, b))


def compare(a: str, b: str) -> str:
  """What `run` prints."""
  reports = _load(a), _load(b)
  everything = [*reports[0], *reports[1]]
  # The score of a run is that on test; dev stands in where there is none.
  tested = all("test" in one.splits for one in everything)
  split = "test" if tested else "dev"
  _check_same_corpus(everything)
  counts = _counts(everything, split)
  sums = counts[: len(reports[0])].sum(0), counts[len(reports[0]) :].sum(0)
  found = metrics.paired_bootstrap(*sums, SAMPLES)
  rows = [["", "run", "system", "seeds", "F1", "95 % interval"]]
  for name, place, seeds, total in zip(
    "AB", (a, b), reports, sums, strict=True
  ):
    rows.append(
      [
        name,
        place,
        ", ".join(sorted({one.system for one in seeds})),
        str(len(seeds)),
        f"{found[f'f1_{name.lower()}']:.2f}",
        _interval(metrics.bootstrap_interval(total, SAMPLES), ".2f"),
      ]
    )
  difference = f"{found['difference']:+.2f}"
  rows.append(
    ["B - A", "", "", "", difference, _interval(found["interval"], "+.2f")]
  )
  stands_in = "" if tested else ", as there is no test split in all reports"
  return "\n\n".join(
    [
      f"{everything[0].corpus}, {split} split{stands_in}: {counts.shape[-1]} "
      f"sentences, drawn {SAMPLES} times.",
      tables.markdown_table(rows, left=3),
      _conclusion(found),
    ]
  )


def _conclusion(found: Json) -> str:
  shown = p_value(found)
  if not is_significant(found):
    return (
      "The difference between A and B may be chance: with other sentences "
      f"either could be ahead ({shown})."
    )
  better, worse = "BA" if found["difference"] > 0 else "AB"
  return (
    f"{better} is better than {worse} by {abs(found['difference']):.2f} F1, "
    f"more than the choice of sentences explains ({shown})."
  )


def _interval(interval: tuple[float, float], form: str) -> str:
  return " to ".join(format(bound, form) for bound in interval)


def _load(place: str) -> list[_Report]:
  """The report of a run, or those of all its seeds."""
  path = pathlib.Path(place)
  paths = [path]
  if path.is_dir():
    # Where there are seeds, the report.json beside them is their summary.
    paths = sorted(path.glob("seed-*/report.json"))
    paths = paths or [p for p in [path / "report.json"] if p.exists()]
  if not paths:
    raise UserError(
      f"{place}: neither report.json nor seed-*/report.json is in it; give "
      "the folder of a finished run"
    )
  return [_read(path) for path in paths]


def _read(path: pathlib.Path) -> _Report:
  try:
    result = parse("\n".join(read_lines(path)))
    if "seeds" in result:
      raise UserError(
        f"{path}: only sums up the runs of several seeds; give its folder"
      )
    # Older reports lack it; they lack the counts too, and are told below.
    system = result["config"].get("system", "")
    corpus = result["corpus"]
    texts = system, corpus["name"], corpus["content_hash"]
    if not all(isinstance(text, str) for text in texts):
      raise TypeError
    return _Report(
      path,
      *texts,
      {split: result[split] for split in report.SPLITS if split in result},
    )
  except UserError:
    raise
  except (ValueError, KeyError, TypeError, AttributeError):
    raise UserError(
      f"{path}: not the report.json of a run; give one, or its folder"
    ) from None


def _check_same_corpus(reports: list[_Report]) -> None:
  first = reports[0]
  for other in reports[1:]:
    if other.content != first.content:
      raise UserError(
        f"{other.path}: is on {other.corpus} (content {other.content}), but "
        f"{first.path} on {first.corpus} (content {first.content}); compare "
        "runs on the same corpus"
      )


def _counts(reports: list[_Report], split: str) -> np.ndarray:
  """int64[R, 3, N] of all reports; the gold of all is the same."""
  counts = [_per_sentence(one, split) for one in reports]
  first = counts[0]
  for one, other in zip(reports, counts, strict=True):
    if not np.array_equal(other[0], first[0]):
      raise UserError(
        f"{one.path}: its {other.shape[1]} {split} sentences with "
        f"{other[0].sum()} mentions are not the {first.shape[1]} with "
        f"{first[0].sum()} of {reports[0].path}; run both on the same data"
      )
  return np.stack(counts)


def _per_sentence(one: _Report, split: str) -> np.ndarray:
  if split not in one.splits:
    raise UserError(
      f"{one.path}: has no {split} split, and not all reports have test; "
      "compare runs that were scored on the same split"
    )
  try:
    return unpack(one.splits[split]["per_sentence"])
  except (KeyError, TypeError):
    raise UserError(
      f"{one.path}: {split} has no per_sentence, as in reports of older "
      "versions; run the command again, which writes it"
    ) from None
  except ValueError:
    raise UserError(
      f"{one.path}: {split}.per_sentence is damaged; run the command again"
    ) from None
