"""Makes the pages of results: the paper's tables, and checks of our own.

launch/reproduce.sh TABLE [DATASET] [options]

TABLE is table2, table4 to table7, context (what the classifier reads of a
sentence), joined (the two steps better joined), budget (F1 against time),
features (of the detector), groups or finer (of types), of the data set wnut17
(default), bionlp13cg, ctireports or ontonotes; or imbalance (losses on rare
types), annotate (what `splitner suggest` chooses, against random choice; one
strategy alone: annotate random, mean, sum or max), nested (mentions within
mentions) or relations (between mentions), both of these on made-up sentences,
or backbones (parity and cost of all families, with random weights). Original
files of a data set are looked for in data/DATASET, else downloaded where that
is possible. Table 3, time, is what `splitner benchmark` measures.

What is done is not done again: reports of earlier runs are in RESULTS/runs.
Pages of other settings than theirs need --results and --work of their own.
"""

import importlib.util
import pathlib

from absl import app, flags

from splitner_jax.commands import cli
from splitner_jax.runtime import memory
from splitner_jax.runtime.errors import UserError

_BACKBONE = flags.DEFINE_string("backbone", "minilm", "of all runs")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "of all runs of a table")
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate", 1e-4, "of all runs of a table"
)
_SEEDS = flags.DEFINE_string(
  "seeds",
  None,
  "such as 1,2,3: of a table (wnut17: 1,2,3,4,5; others: 1) or of annotate "
  "(1,2,3)",
)
_SET = flags.DEFINE_multi_string(
  "set", [], "FIELD=VALUE of the config, in all runs of a table; repeatable"
)
_RESULTS = flags.DEFINE_string("results", "results", "folder of the pages")
_WORK = flags.DEFINE_string("work", "runs/reproduce", "folder of the runs")
_RUN = flags.DEFINE_boolean(
  "run", True, "--norun only writes the page of a table, or annotate, anew"
)
_OF_TABLES = ("epochs", "learning_rate", "seeds", "run", "set")


def _more() -> dict[str, object]:
  """What --set says, as values of the config's types.

  Raises:
    UserError: it is not FIELD=VALUE, or the config has no such field.
  """
  from splitner_jax.experiment import default_config
  from splitner_jax.experiment.settings import flat

  known, found = flat(default_config.get_config().to_dict()), {}
  for text in _SET.value:
    field, equals, value = text.partition("=")
    if not equals or field not in known:
      raise UserError(
        f"--set={text}: is not FIELD=VALUE with a field of the config; write "
        "such as --set=compute_dtype=float32"
      )
    kind = type(known[field])
    try:
      found[field] = kind(value) if kind in (int, float) else value
    except ValueError as e:
      raise UserError(f"--set={text}: {field} is a number ({e})") from e
  return found


def _make_table(name: str, dataset: str) -> tuple[pathlib.Path, list[str]]:
  """Makes what is missing; returns the page, and the runs that failed."""
  import tqdm

  from splitner_jax.experiment.settings import parse_seeds
  from splitner_jax.reproduce import pages, paper, runs, tables
  from splitner_jax.runtime.files import atomic_write

  if dataset not in paper.DATASETS:
    raise UserError(
      f"{dataset}: no data set of this name; there are "
      f"{', '.join(paper.DATASETS)}"
    )
  usual = "1,2,3,4,5" if dataset == "wnut17" else "1"
  budget = runs.Budget(
    dataset,
    _BACKBONE.value,
    _EPOCHS.value,
    _LEARNING_RATE.value,
    tuple(parse_seeds(_SEEDS.value or usual)),
    pathlib.Path(_RESULTS.value),
    pathlib.Path(_WORK.value),
    _more(),
  )
  rows = tables.TABLES[name].rows(dataset)
  # Before hours of work: do the reports that are there fit?
  runs.reports(budget, rows)
  target = budget.results / f"{name}-{dataset}.md"
  target.parent.mkdir(parents=True, exist_ok=True)
  problems: dict[str, list[str]] = {}
  for row in tqdm.tqdm(
    sorted(rows, key=lambda row: runs.RUNS[row].cost),
    desc=f"{name} {dataset}",
    unit="row",
    disable=not _RUN.value,
  ):
    if _RUN.value or runs.RUNS[row].why_not:
      problems[row] = runs.make(budget, row)
    # After each: whoever stops here has a page of what there is.
    atomic_write(target, [pages.page(name, budget, problems)])
  failed = [row for row in rows if problems.get(row)]
  return target, [row for row in failed if not runs.RUNS[row].why_not]


def _check_own(name: str, rest: list[str], *taken: str) -> None:
  """Raises UserError for what a page with settings of its own does not take.

  Args:
    name: of the page.
    rest: arguments that it does not take.
    taken: flags of tables that it does take.
  """
  given = [
    f"--{flag}"
    for flag in _OF_TABLES
    if flags.FLAGS[flag].present and flag not in taken
  ]
  for argument in rest + given:
    raise UserError(
      f"{argument}: {name} has settings of its own and takes none of a table; "
      "leave it out"
    )


def main(argv: list[str]) -> None:
  memory.disable_malloc_trim()
  # Imported here: --help and wrong arguments need not wait for JAX.
  from splitner_jax.experiment.settings import parse_seeds
  from splitner_jax.reproduce import (
    annotate,
    backbones,
    imbalance,
    other_tasks,
    tables,
  )
  from splitner_jax.runtime import progress

  progress.start_log()
  results, work = pathlib.Path(_RESULTS.value), pathlib.Path(_WORK.value)
  name, *rest = argv[1:]
  failed: list[str] = []
  try:
    if name in tables.TABLES:
      page, failed = _make_table(name, *(rest or ["wnut17"]))
    elif name == "imbalance":
      _check_own(name, rest)
      page = imbalance.run(results, work, backbone=_BACKBONE.value)
    elif name == "annotate":
      _check_own(name, rest[1:], "seeds", "run")
      page = annotate.run(
        results,
        work,
        strategies=rest or annotate.STRATEGIES,
        seeds=parse_seeds(_SEEDS.value or "1,2,3"),
        train=_RUN.value,
        backbone=_BACKBONE.value,
      )
    elif name == "backbones":
      _check_own(name, rest)
      page = backbones.run(results, work)
    elif name in other_tasks.TASKS:
      _check_own(name, rest)
      page = other_tasks.run(name, results, work, backbone=_BACKBONE.value)
    else:
      known = (
        *(*tables.TABLES, "imbalance", "annotate"),
        *(*other_tasks.TASKS, "backbones"),
      )
      raise UserError(
        f"{name}: no page of this name; there are {', '.join(known)}"
      )
  except UserError as e:
    cli.fail(str(e))
  except KeyboardInterrupt:
    cli.exit_interrupted()
  print(page.read_text("utf-8"))
  print(f"page: {page}")
  if failed:
    cli.fail(f"these failed, see the page: {', '.join(failed)}")


def _check_checkout() -> None:
  """Raises UserError without the configs, which no wheel has."""
  if not importlib.util.find_spec("configs"):
    raise UserError(
      "splitner_jax.reproduce reads the configs of the checkout; call "
      "launch/reproduce.sh there"
    )


def _check(argv: list[str]) -> list[str]:
  """The positional arguments; those of absl take care of the rest."""
  rest = cli.parse_flags(argv, _check_checkout, positional=2)
  if len(rest) < 2:
    cli.fail("name a page, such as table2; see --help")
  return rest


if __name__ == "__main__":
  app.run(main, flags_parser=_check)
