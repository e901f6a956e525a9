"""Groups of types that runs confuse."""

import json
import pathlib

import numpy as np

from splitner_jax.reproduce import groups


def test_the_rarest_joins_what_it_is_confused_with() -> None:
  table = np.array([[9, 0, 0, 2], [0, 50, 1, 0], [1, 2, 20, 0], [0, 0, 0, 5]])
  assert groups.by_confusion("abcd", table, 4) == [["a"], ["b"], ["c"], ["d"]]
  # d, then a and d together, which are confused with c alone.
  assert groups.by_confusion("abcd", table, 3) == [["a", "d"], ["b"], ["c"]]
  assert groups.by_confusion("abcd", table, 2) == [["a", "d", "c"], ["b"]]
  assert len(groups.by_confusion("abcd", table, 1)) == 1


def test_without_confusion_the_smallest_are_joined() -> None:
  table = np.diag([5, 7, 1, 6])
  assert groups.by_confusion("abcd", table, 3) == [["a", "c"], ["b"], ["d"]]


def test_of_several_reports(tmp_path: pathlib.Path) -> None:
  tables = ([[3, 1, 0, 9], [0, 2, 0, 9], [0, 0, 8, 9], [9, 9, 9, 0]],)
  tables += ([[3, 0, 0, 9], [0, 2, 0, 9], [0, 0, 8, 9], [9, 9, 9, 0]],)
  paths = []
  for i, table in enumerate(tables):
    confusion = {"types": ["a", "b", "c"], "table": table}
    path = tmp_path / f"{i}.json"
    path.write_text(json.dumps({"dev": {"errors": {"confusion": confusion}}}))
    paths.append(str(path))
  assert groups.of_reports(paths, 2) == "a,b;c"
