"""Tasks beside flat mentions, on made-up sentences: nested ones, and relations.

launch/reproduce.sh nested
launch/reproduce.sh relations
"""

import functools
import json
import logging
import pathlib
import statistics
from collections.abc import Callable, Sequence

import tqdm
from ml_collections import ConfigDict

from splitner_jax.data.corpora import Corpus
from splitner_jax.evaluation import metrics
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment import default_config, task_specs
from splitner_jax.experiment.report import machine
from splitner_jax.experiment.run import train
from splitner_jax.experiment.run_folder import locked
from splitner_jax.inference import model_folder
from splitner_jax.inference.forward import Forward
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.reproduce import generated, nested, relations
from splitner_jax.reproduce.imbalance import known
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.training import loop

log = logging.getLogger(__name__)

SEEDS = (1, 2, 3)
RATES = {"nested": 3e-4, "relations": 2e-4}


def run(
  name: str,
  results: pathlib.Path,
  workdir: pathlib.Path,
  *,
  backbone: str = "minilm",
  epochs: int = 2,
  learning_rate: float | None = None,
  seeds: Sequence[int] = SEEDS,
) -> pathlib.Path:
  """Trains with each seed that is not done, and writes the page after each.

  Args:
    name: `nested` or `relations`.
    results: gets NAME.md and runs/NAME/report.json.
    workdir: for sentences and checkpoints.
    backbone, epochs: as in the config.
    learning_rate: that of `RATES` if None.
    seeds: of training; the sentences are the same.

  Raises:
    UserError: there is no such backbone.
  """
  read = {"nested": nested.read, "relations": relations.read}[name]
  compare = {"nested": _nested, "relations": _relations}[name]
  learning_rate = learning_rate or RATES[name]
  settings = {
    # The name alone: a folder is of one machine only.
    "backbone": pathlib.PurePath(backbone).name,
    "epochs": epochs,
    "learning_rate": learning_rate,
    "sentences": generated.SIZES,
  }
  folder = workdir / name
  files = generated.write(folder / "sentences", name)
  splits: Json = {s: read(path) for s, path in files.items()}
  corpus = Corpus(name, **splits)
  settings["content_hash"] = corpus.content_hash
  path = results / "runs" / name / "report.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  report = known(path, settings) or {"settings": settings, "seeds": {}}
  use_compilation_cache()
  missing = [seed for seed in seeds if f"{seed}" not in report["seeds"]]
  page = results / f"{name}.md"
  for seed in tqdm.tqdm(missing, desc=name, unit="seed"):
    config = default_config.get_config()
    config.update(
      backbone=backbone,
      epochs=epochs,
      patience=epochs,
      learning_rate=learning_rate,
      seed=seed,
    )
    for part in (config.detector, config.tagger):
      # They tell how names are written, and all are written alike here.
      part.features = "none"
    report["seeds"][f"{seed}"] = {
      "machine": machine(),
      "systems": compare(config, corpus, folder / f"seed-{seed}"),
    }
    atomic_write(path, [json.dumps(report, indent=2), "\n"])
    atomic_write(page, [_PAGES[name](report)])
  atomic_write(page, [_PAGES[name](report)])
  return page


def _trained(
  config: ConfigDict, corpus: Corpus, folder: pathlib.Path
) -> Predictor:
  """The system of a config, trained if need be, and kept in FOLDER/model."""
  experiment = task_specs.prepare(config, corpus)
  with locked(config, folder, corpus.content_hash, experiment.sources):
    model, programs, _ = train(experiment, folder)
    model_folder.save(folder / "model", model)
  return Predictor(model, programs, progress=True)


def _nested(config: ConfigDict, corpus: Corpus, folder: pathlib.Path) -> Json:
  """Scores of SplitNER by levels, and of SplitNER on outermost mentions."""
  nested.install()
  learned, dev = (
    [nested.outermost(s) for s in x] for x in (corpus.train, corpus.dev)
  )
  flat = Corpus("outermost mentions", learned, dev, corpus.test)
  gold = [s.spans for s in corpus.test]
  found = {}
  for system, given in (("splitner", flat), ("nested", corpus)):
    config.system = system
    config.tagger.question = nested.QUESTION
    predictor = _trained(config, given, folder / system)
    found[system] = nested.score(gold, predictor.predict(corpus.test))
  return found


def _relations(
  config: ConfigDict, corpus: Corpus, folder: pathlib.Path
) -> Json:
  """Scores between gold mentions, and between those that SplitNER finds."""
  relations.install()
  learned, test = (relations.gold_pairs(x) for x in (corpus.train, corpus.test))
  labels = sorted({pair.label for row in learned for pair in row} - {""})
  config.system = "relations"
  config.relations = ConfigDict(config.classifier.to_dict())
  # Mentions are easily found and named; what is between them takes longer.
  config.relations.epochs = config.relations.patience = 4 * config.epochs
  # Of questions, of which a sentence has up to a dozen.
  config.relations.batch_size = 32
  config.relations.relations = ",".join(labels)
  config.relations.question = relations.QUESTION
  predictor = _trained(config, corpus, folder / "pairs")
  mentions: Json = {
    "gold": [s.spans for s in corpus.test],
    "found": predictor.predict(corpus.test),
  }

  # The baseline's mentions are the same: only its last task is trained.
  config.relations.question = relations.ONE_MENTION
  part = task_specs.prepare(config, corpus).parts[relations.TASK]
  with locked(config, folder / "one", corpus.content_hash):
    params, _ = loop.train(
      part.programs,
      part.settings,
      (corpus.train, corpus.dev),
      part.fill,
      folder / "one" / relations.TASK,
    )
  sides: dict[str, Callable[..., list[list[relations.Pair]]]] = {
    name: functools.partial(task.relate, forward, corpus.test)
    for name, task, forward in (
      (
        "pairs",
        predictor.tasks[relations.TASK],
        predictor.forwards[relations.TASK],
      ),
      ("one mention", part.task, Forward(part.programs, params, progress=True)),
    )
    if isinstance(task, relations.RelationTask)
  }
  sides["types"] = relations.by_types(corpus.train, corpus.dev).relate
  return {
    "mentions": metrics.score(mentions["gold"], mentions["found"]),
    **{
      name: {
        given: relations.score(test, relate(rows))
        for given, rows in mentions.items()
      }
      for name, relate in sides.items()
    },
  }


def _mean(report: Json, *keys: str | int) -> str:
  """A figure's mean over the seeds, with its standard deviation."""
  figures = []
  for run_ in report["seeds"].values():
    value = run_["systems"]
    for key in keys:
      value = value[key]
    figures.append(value)
  mean = statistics.fmean(figures)
  if len(figures) < 2:
    return f"{mean:.2f}"
  return f"{mean:.2f} ± {statistics.stdev(figures):.2f}"


def _made(report: Json, name: str) -> str:
  settings, seeds = report["settings"], report["seeds"]
  sizes = ", ".join(f"{n} of {s}" for s, n in settings["sentences"].items())
  machines = sorted({run_["machine"] for run_ in seeds.values()})
  return (
    f"`launch/reproduce.sh {name}`: made-up sentences, {sizes} (content "
    f"{settings['content_hash']}); backbone {settings['backbone']}, "
    f"{settings['epochs']} epochs, learning rate "
    f"{settings['learning_rate']:g}, seeds {', '.join(seeds)}, mean and "
    f"standard deviation. Machine: {', '.join(machines)}."
  )


_MADE_UP = (
  "All sentences are made up from templates, some of which train has not. No "
  "name of test is in train, and what a name stands for follows from its "
  "sentence alone. The figures show whether a system can "
  "express the task and learn it, not how well it does on text."
)


def _nested_page(report: Json) -> str:
  rows = [["system", "precision", "recall", "F1"]]
  deepest = len(
    next(iter(report["seeds"].values()))["systems"]["nested"]["levels"]
  )
  rows[0] += [f"F1 level {i + 1}" for i in range(deepest)]
  names = {"nested": "by levels", "splitner": "flat, outermost"}
  for system, title in names.items():
    rows.append(
      [
        title,
        *(_mean(report, system, key) for key in ("precision", "recall", "f1")),
        *(_mean(report, system, "levels", i, "f1") for i in range(deepest)),
      ]
    )
  systems = next(iter(report["seeds"].values()))["systems"]
  counts = [each["gold"] for each in systems["nested"]["levels"]]
  parts = [
    "# Nested mentions: a detector that is asked level by level",
    "SplitNER finds mentions within mentions if its detector reads the "
    "sentence once for each level of nesting; the classifier, which is asked "
    "about one span at a time, stays as it is.",
    markdown_table(rows, left=1),
    "Micro scores of all test mentions, in percent: right is one with the "
    "right words and the right type. Level 1 has the mentions within no other "
    f"({counts[0]}), the next ones those within one more "
    f"({', '.join(map(str, counts[1:]))}). *Flat* is SplitNER as it is, "
    "trained on the outermost mentions, since it can express no others. A "
    "mention that is wrong counts at the level that it has among the predicted "
    "ones.",
    _MADE_UP,
    "## How it was made",
    _made(report, "nested"),
  ]
  return "\n\n".join(parts) + "\n"


def _relations_page(report: Json) -> str:
  systems = next(iter(report["seeds"].values()))["systems"]
  labels = sorted(systems["pairs"]["gold"]["per_type"])
  rows = [["system", "precision", "recall", "F1", "F1 of own mentions"]]
  names = {
    "pairs": "asks about pairs",
    "one mention": "asks about one mention",
    "types": "knows the types alone",
  }
  of_labels = [["system", *labels]]
  for system, title in names.items():
    figures = [
      _mean(report, system, "gold", key)
      for key in ("precision", "recall", "f1")
    ]
    rows.append([title, *figures, _mean(report, system, "found", "f1")])
    of_labels.append(
      [
        title,
        *(
          _mean(report, system, "gold", "per_type", label, "f1")
          for label in labels
        ),
      ]
    )
  parts = [
    "# Relations: a question over each pair of mentions",
    "A third task beside SplitNER's two is asked about each ordered pair of "
    f"mentions, `{relations.QUESTION}`; all questions about a sentence share "
    "it, and it is read once.",
    markdown_table(rows, left=1),
    "Micro scores of the relations of test, in percent, no relation being a "
    "class that is not counted. The first three columns are between gold "
    "mentions. In the last, SplitNER has to find the mentions too (its F1 is "
    f"{_mean(report, 'mentions', 'f1')}), and right is a relation whose two "
    "mentions are right with their types. The first baseline is the same model "
    f"with the question `{relations.ONE_MENTION}` about the first of the two: "
    "what it says holds for every second one. The other predicts the relation "
    "that is most frequent between mentions of these types, if that is "
    "frequent enough (by F1 on dev).",
    "F1 of each relation, between gold mentions:",
    markdown_table(of_labels, left=1),
    _MADE_UP,
    "## How it was made",
    _made(report, "relations")
    + " Relations are learned for four times as many epochs.",
  ]
  return "\n\n".join(parts) + "\n"


_PAGES: dict[str, Callable[[Json], str]] = {
  "nested": _nested_page,
  "relations": _relations_page,
}
TASKS = tuple(_PAGES)
