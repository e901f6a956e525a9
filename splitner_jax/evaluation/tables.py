"""Tables for readers."""


def markdown_table(rows: list[list[str]], left: int) -> str:
  """An aligned table: the first row is the head, `left` columns are text."""
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
