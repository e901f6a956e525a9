"""Groups of types that a trained system confuses, for the system hierarchical:

python -m splitner_jax.reproduce.groups COUNT RUN/report.json...

prints what `config.detector.groups` may be, by what the runs confuse on dev.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np


def by_confusion(
  types: Sequence[str], table: np.ndarray, count: int
) -> list[list[str]]:
  """So many groups, so that mostly types of one group are confused.

  From single types on, the group of the fewest mentions is joined to the one
  that it is confused with most often; of several to the smallest. So no group
  holds almost everything.

  Args:
    types: by name.
    table: int[n, n] mentions of a type that were held for another.
    count: of groups, at least 1.
  """
  confused = table + np.transpose(table)
  groups = [[i] for i in range(len(types))]
  while len(groups) > count:
    inside_GxN = np.array([np.isin(range(len(types)), g) for g in groups], int)
    between = inside_GxN @ confused @ inside_GxN.T
    sizes = inside_GxN @ np.sum(table, axis=1)
    least = int(np.argmin(sizes))
    others = [k for k in range(len(groups)) if k != least]
    most = min(others, key=lambda k: (-between[least, k], sizes[k]))
    i, j = sorted((least, most))
    groups[i] += groups.pop(j)
  return [[types[i] for i in group] for group in groups]


def of_reports(paths: Sequence[str], count: int) -> str:
  """The groups by all these runs of one corpus, as the config has them."""
  tables, types = [], []
  for path in paths:
    report = json.loads(pathlib.Path(path).read_text("utf-8"))
    found = report["dev"]["errors"]["confusion"]
    types = found["types"]
    # The last row and column are of what is no mention.
    tables.append(np.array(found["table"])[:-1, :-1])
  groups = by_confusion(types, np.sum(tables, axis=0), count)
  return ";".join(",".join(group) for group in groups)


if __name__ == "__main__":
  print(of_reports(sys.argv[2:], int(sys.argv[1])))
