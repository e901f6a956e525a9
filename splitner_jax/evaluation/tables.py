"""Tables for readers."""

from collections.abc import Mapping


def figures(scores: Mapping[str, float]) -> list[str]:
  """Precision, recall and F1 of `metrics.score`, as a table has them."""
  return [f"{scores[key]:.2f}" for key in ("precision", "recall", "f1")]


def markdown_table(rows: list[list[str]], left: int) -> str:
  """An aligned table: the first row is the head, `left` columns are text."""
  # The names of types are any text, also one that would end a cell.
  rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

  def line(row: list[str]) -> str:
    cells = [
      cell.ljust(width) if i < left else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"

  rule = [
    "-" * width if i < left else "-" * (width - 1) + ":"
    for i, width in enumerate(widths)
  ]
  return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])
