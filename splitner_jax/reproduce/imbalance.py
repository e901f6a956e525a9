"""Losses of the span classifier where most entity types are rare.

launch/reproduce.sh imbalance
"""

import collections
import dataclasses
import hashlib
import importlib
import json
import logging
import pathlib
import statistics
from collections.abc import Iterable, Sequence

import tqdm

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation import pictures
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment import task_specs
from splitner_jax.experiment.report import machine
from splitner_jax.experiment.run_folder import locked
from splitner_jax.inference.forward import Forward
from splitner_jax.reproduce import paper
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import loop

log = logging.getLogger(__name__)

COMPARED = ("cross_entropy", "weighted_cross_entropy", "dice", "focal")

_COMMONEST = 600  # Mentions of the commonest type.
_SHARE = 0.6  # What each type has of the one before.
_LEAST = 3
_DEV_MENTIONS = 1500

Mention = tuple[int, Span]
"""A sentence's index and one of its spans."""


def types_by_frequency(sentences: Iterable[Sentence]) -> list[str]:
  """The entity types, commonest first."""
  counts = collections.Counter(s.label for x in sentences for s in x.spans)
  return sorted(counts, key=lambda label: (-counts[label], label))


def imbalanced(sentences: Sequence[Sentence]) -> list[Sentence]:
  """The sentences with few mentions of few types, and few of most types.

  Of the commonest type at most 600 mentions stay, of each further one 0.6 of
  the number before, of all at least three if there are so many. Which ones is
  decided by the sentence and the place alone; sentences without any drop out.
  """
  of_type: dict[str, list[Mention]] = collections.defaultdict(list)
  for index, span in _shuffled(sentences):
    of_type[span.label].append((index, span))
  ranked = types_by_frequency(sentences)
  most = min(_COMMONEST, len(of_type[ranked[0]])) if ranked else 0
  kept: list[Mention] = []
  for rank, label in enumerate(ranked):
    kept += of_type[label][: max(round(most * _SHARE**rank), _LEAST)]
  return _with_only(sentences, kept)


def limited(sentences: Sequence[Sentence], mentions: int) -> list[Sentence]:
  """The sentences with at most so many mentions, chosen in the same way."""
  return _with_only(sentences, _shuffled(sentences)[:mentions])


def _shuffled(sentences: Sequence[Sentence]) -> list[Mention]:
  """All mentions, in an order that their sentence and place decide."""

  def key(mention: Mention) -> bytes:
    index, span = mention
    place = f"{sentences[index].text}\t{span.start}\t{span.end}"
    return hashlib.sha256(place.encode()).digest()

  return sorted(
    ((i, span) for i, s in enumerate(sentences) for span in s.spans), key=key
  )


def _with_only(
  sentences: Sequence[Sentence], kept: Iterable[Mention]
) -> list[Sentence]:
  spans: dict[int, list[Span]] = collections.defaultdict(list)
  for index, span in kept:
    spans[index].append(span)
  return [
    dataclasses.replace(sentences[i], spans=tuple(sorted(spans[i])))
    for i in sorted(spans)
  ]


def macro_f1(scores: Json, types: Iterable[str] | None = None):
  """Mean F1 of the types that have gold mentions; of those given, if any.

  Args:
    scores: of `metrics.score_labels`.
    types: all if None.

  Returns:
    Percent; None if none of the types has a gold mention.
  """
  rows = scores["per_type"]
  wanted = rows if types is None else [t for t in types if t in rows]
  figures = [rows[t]["f1"] for t in wanted if rows[t]["gold"]]
  return statistics.fmean(figures) if figures else None


def run(
  results: pathlib.Path,
  workdir: pathlib.Path,
  *,
  dataset: str = "bionlp13cg",
  data_dir: str | None = None,
  backbone: str = "minilm",
  epochs: int = 6,
  learning_rate: float = 1e-4,
  seed: int = 1,
) -> pathlib.Path:
  """Trains with each loss that is not done, and writes the page after each.

  Args:
    results: gets imbalance.md, imbalance.png, runs/imbalance/report.json.
    workdir: for checkpoints.
    dataset: the name of its config.
    data_dir: with the original files; by default data/DATASET, if it is there.
    backbone, epochs, learning_rate, seed: as in the config.

  Raises:
    UserError: there is no such data set, data or backbone.
  """
  if dataset not in paper.DATASETS:
    raise UserError(
      f"{dataset}: no data set of this name; there are "
      f"{', '.join(paper.DATASETS)}"
    )
  settings = {
    "dataset": dataset,
    # The name alone: a folder is of one machine only.
    "backbone": pathlib.PurePath(backbone).name,
    "epochs": epochs,
    "learning_rate": learning_rate,
    "seed": seed,
    "commonest": _COMMONEST,
    "share": _SHARE,
  }
  path = results / "runs" / "imbalance" / "report.json"
  page = results / "imbalance.md"
  report = known(path, settings)
  if report and report["losses"].keys() >= set(COMPARED):
    # For that it needs no data.
    _write_page(report, page)
    return page

  usual = pathlib.Path("data") / dataset
  if data_dir is None and usual.exists():
    data_dir = str(usual)
  config = importlib.import_module(f"configs.{dataset}").get_config()
  config.data.dir = data_dir
  config.backbone = backbone
  config.epochs = config.patience = epochs
  config.learning_rate = learning_rate
  config.seed = seed
  use_compilation_cache()
  prepared = task_specs.prepare(config)
  corpus, part = prepared.corpus, prepared.parts["classifier"]
  folder = workdir / "imbalance" / dataset

  splits = imbalanced(corpus.train), limited(corpus.dev, _DEV_MENTIONS)
  ranked = types_by_frequency(corpus.train)
  rare = ranked[-max(len(ranked) // 3, 1) :]
  settings["content_hash"] = corpus.content_hash
  path.parent.mkdir(parents=True, exist_ok=True)
  report = known(path, settings) or {
    "settings": settings,
    "mentions": {
      "train": _counts(corpus.train, ranked),
      "kept": _counts(splits[0], ranked),
      "dev": sum(_counts(splits[1], ranked).values()),
      "test": _counts(corpus.test, ranked),
    },
    "rare": rare,
    "losses": {},
  }
  missing = [name for name in COMPARED if name not in report["losses"]]
  with locked(config, folder, corpus.content_hash):
    for name in tqdm.tqdm(missing, desc="imbalance", unit="loss"):
      log.info("imbalance: %s", name)
      settings_of_loss = part.settings.copy_and_resolve_references()
      settings_of_loss.loss = name
      params, progress = loop.train(
        part.programs, settings_of_loss, splits, part.fill, folder / name
      )
      forward = Forward(part.programs, params, progress=True)
      test = part.task.evaluate(forward, corpus.test, Decoding())
      report["losses"][name] = {
        "machine": machine(),
        "dev": [
          {"micro": scores["f1"], "macro": macro_f1(scores)}
          for scores in progress["evaluations"]
        ],
        "best_epoch": progress["best_epoch"],
        "test": {
          "micro": test["f1"],
          "macro": macro_f1(test),
          "rare": macro_f1(test, rare),
          "per_type": {t: row["f1"] for t, row in test["per_type"].items()},
        },
      }
      atomic_write(path, [json.dumps(report, indent=2), "\n"])
      _write_page(report, page)
  _write_page(report, page)
  return page


def _counts(sentences: Sequence[Sentence], types: list[str]) -> dict[str, int]:
  counts = collections.Counter(s.label for x in sentences for s in x.spans)
  return {label: counts[label] for label in types}


def known(path: pathlib.Path, settings: Json) -> Json | None:
  """The report as far as it goes; None if there is none of these settings."""
  try:
    report = json.loads(path.read_bytes())
    same = settings.items() <= report["settings"].items()
    return report if same else None
  except FileNotFoundError:
    return None
  except (ValueError, KeyError, TypeError) as e:
    raise UserError(f"{path}: cannot be read ({e}); delete it") from e


def _write_page(report: Json, page: pathlib.Path) -> None:
  """Writes imbalance.png, then imbalance.md."""
  draw(report, page.with_suffix(".png"))
  atomic_write(page, [_markdown(report)])


def draw(report: Json, path: pathlib.Path) -> None:
  """Draws macro F1 on dev by epoch, a line for each loss, as a PNG."""
  figure = pictures.new_figure(6.4, 4.0)
  axes = figure.subplots()
  for marker, (name, row) in zip(
    "osD^", report["losses"].items(), strict=False
  ):
    values = [epoch["macro"] for epoch in row["dev"]]
    axes.plot(range(1, len(values) + 1), values, marker=marker, label=name)
  axes.set_xticks(range(1, report["settings"]["epochs"] + 1))
  axes.set_xlabel("epoch")
  axes.set_ylabel("macro F1 on dev, %")
  axes.grid(alpha=0.3)
  axes.legend()
  pictures.save_png(figure, path)


def _markdown(report: Json) -> str:
  """The whole page."""
  settings, mentions = report["settings"], report["mentions"]
  losses, kept = report["losses"], mentions["kept"]
  total = sum(kept.values())
  first = next(iter(kept.values()))
  rare_on_test = sum(mentions["test"][label] for label in report["rare"])
  parts = [
    "# Losses of the span classifier on imbalanced types, on "
    f"{paper.DATASETS[settings['dataset']]}",
    f"Trained on {total:,} gold mentions of train, chosen so that each entity "
    f"type has {settings['share']:g} of the one before, and at least {_LEAST}: "
    f"the commonest of {len(kept)} has {100 * first / total:.0f} % of them. "
    "The losses differ, all else is the same: model, seed, batches, learning "
    "rate.",
    _results(losses),
    "F1 of the types of gold mentions, in percent. *Micro* is over all "
    "mentions, which is their accuracy; *macro* the mean of the types that "
    f"have mentions there; *rare* the same of the {len(report['rare'])} types "
    f"that are rarest in train ({', '.join(report['rare'])}; {rare_on_test:,} "
    f"of {sum(mentions['test'].values()):,} test mentions). The epoch is the "
    "best by micro F1 on dev, as in all our training; all test mentions, and "
    f"{mentions['dev']:,} of dev, chosen by a hash. One seed: differences of "
    "a point or two may be chance, and more so of the rare types.",
    "## Convergence",
    "![macro F1 on dev by epoch](imbalance.png)",
    _curves(losses),
    "Macro F1 on dev after each epoch. Training losses are not shown: they "
    "are not of one kind.",
    "## The types",
    _types(report),
    "## How it was made",
    f"`launch/reproduce.sh imbalance`: backbone {settings['backbone']}, "
    f"{settings['epochs']} epochs, learning rate "
    f"{settings['learning_rate']:g}, seed {settings['seed']}; content "
    f"{settings['content_hash']}. Machine: "
    f"{', '.join(sorted({row['machine'] for row in losses.values()}))}.",
  ]
  return "\n\n".join(parts) + "\n"


def _show(figure: float | None) -> str:
  return "-" if figure is None else f"{figure:.2f}"


def _results(losses: Json) -> str:
  rows = [["loss", "epoch", "dev micro", "dev macro"]]
  rows[0] += ["test micro", "test macro", "test rare"]
  for name in COMPARED:
    if name not in losses:
      rows.append([name, "not run", *[""] * 5])
      continue
    row = losses[name]
    best = row["dev"][row["best_epoch"] - 1]
    figures = [best["micro"], best["macro"]]
    figures += [row["test"][key] for key in ("micro", "macro", "rare")]
    rows.append([name, str(row["best_epoch"]), *map(_show, figures)])
  return markdown_table(rows, left=1)


def _curves(losses: Json) -> str:
  epochs = max((len(row["dev"]) for row in losses.values()), default=0)
  rows = [["loss", *(f"epoch {i + 1}" for i in range(epochs))]]
  rows += [
    [name, *(_show(epoch["macro"]) for epoch in row["dev"])]
    for name, row in losses.items()
  ]
  return markdown_table(rows, left=1)


def _types(report: Json) -> str:
  """Numbers of mentions, and F1 on test with each loss."""
  mentions, losses = report["mentions"], report["losses"]
  rows = [["type", "train", "trained on", "test", *losses]]
  for label, kept in mentions["kept"].items():
    counts = [mentions["train"][label], kept, mentions["test"][label]]
    figures = [row["test"]["per_type"].get(label) for row in losses.values()]
    rows.append([label, *map(str, counts), *map(_show, figures)])
  return markdown_table(rows, left=1)
