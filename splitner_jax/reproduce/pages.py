"""The pages of results: the paper's figures, ours, and how ours were made."""

from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.reproduce import paper
from splitner_jax.reproduce.figures import Reports
from splitner_jax.reproduce.runs import Budget, reports, shown_command
from splitner_jax.reproduce.tables import TABLES


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
      ours = [c.of(found[row]) for c in table.columns]
    else:
      ours = ["not run"] * len(table.columns)
    cells.append([table.title_of(row), *published, *ours, str(len(found[row]))])
  parts = [f"# {table.title}, on {paper.DATASETS[dataset]}"]
  is_any = any(found.values())
  if is_any:
    parts += table.before(found, budget)
  parts += [table.note, markdown_table(cells, left=1)]
  if is_any:
    parts += table.after(found, budget)
  reasons: dict[str, list[str]] = {}
  for row in rows:
    if not found[row]:
      why = (problems.get(row) or ["not yet"])[0]
      reasons.setdefault(why, []).append(table.title_of(row))
  parts += [f"Not run, {why}: {', '.join(t)}." for why, t in reasons.items()]
  return "\n\n".join([*parts, *_origin(name, budget, found)]) + "\n"


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
