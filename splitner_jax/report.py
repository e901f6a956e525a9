"""report.json, the record of a run, and report.md, the same to read.

Of each split, `dev` and `test`, report.json has `all_sentences` (the honest
score), `reference_protocol` (how the paper's code counts, for comparison with
the paper only), `detection`, `classification_on_gold`, each with `precision`,
`recall`, `f1` in percent, and `per_type` where it applies; and `sentences`,
`gold_mentions`, `gold_lost_to_length`. `seconds` are without compile time,
which stands apart. `calibration` has the temperature and expected calibration
errors, see `calibration`.
"""

import json
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

import splitner_jax
from splitner_jax.data.corpora import Corpus
from splitner_jax.data.lines import write_whole

SPLITS = ("dev", "test")

_ROWS = {
  "all_sentences": "SplitNER, all sentences",
  "reference_protocol": "SplitNER, reference protocol",
  "detection": "detection alone",
  "classification_on_gold": "classification of gold mentions",
}


def start(
  config: ConfigDict, corpus: Corpus, progress: dict[str, dict[str, Any]]
) -> dict[str, Any]:
  """The parts of a report that are known before the evaluation.

  Args:
    config: of the run.
    corpus: the sentences.
    progress: what `train.train` returned for each task.
  """
  return {
    "splitner_jax": splitner_jax.__version__,
    "devices": [d.device_kind for d in jax.local_devices()],
    "config": json.loads(config.to_json_best_effort()),
    "corpus": {
      "name": corpus.name,
      "content_hash": corpus.content_hash,
      "types": corpus.types,
      "sentences": {
        split: len(getattr(corpus, split)) for split in ("train", *SPLITS)
      },
    },
    "training": {
      name: {
        "examples": p["examples"],
        "gold_lost_to_length": p["gold_lost_to_length"],
        "padding": p["padding"],
        "shapes": p["shapes"],
        "steps": p["step"],
        "best_epoch": p["best_epoch"],
        "best_dev_f1": p["best_f1"],
        "evaluations": p["evaluations"],
      }
      for name, p in progress.items()
    },
    "seconds": {
      name: {
        "epochs": p["epoch_seconds"],
        "compile": round(p["compile_seconds"], 3),
      }
      for name, p in progress.items()
    },
  }


def write(result: dict[str, Any], workdir: pathlib.Path) -> None:
  """Writes WORKDIR/report.md, then WORKDIR/report.json."""
  write_whole(workdir / "report.md", [markdown(result)])
  text = json.dumps(result, indent=2) + "\n"
  write_whole(workdir / "report.json", [text])


def table(result: dict[str, Any]) -> str:
  """The scores as an aligned Markdown table."""
  rows = [["", "split", "precision", "recall", "F1"]]
  for key, title in _ROWS.items():
    for split in SPLITS:
      if split in result:
        row = result[split][key]
        figures = [f"{row[k]:.2f}" for k in ("precision", "recall", "f1")]
        rows.append([title, split, *figures])
  return markdown_table(rows, left=2)


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


def markdown(result: dict[str, Any]) -> str:
  """The whole report.md."""
  corpus, config = result["corpus"], result["config"]
  sizes = ", ".join(f"{n} {s}" for s, n in corpus["sentences"].items())
  parts = [
    f"# SplitNER on {corpus['name']}",
    f"Backbone {config['backbone']}, seed {config['seed']}; sentences: "
    f"{sizes} (content {corpus['content_hash']}); "
    f"{len(result['devices'])} x {result['devices'][0]}.",
    "## Scores",
    "Mentions count as found when words and type are right, in percent. *All "
    "sentences* is the honest figure. *Reference protocol* leaves out "
    "sentences without a detected mention, as the code of the paper does; it "
    "is for comparison with the paper only.",
    table(result),
    _calibration(result["calibration"]),
  ]
  for split in SPLITS:
    if split in result:
      parts += _split_section(split, result[split])
  parts.append("## Training")
  for name, training in result["training"].items():
    seconds = result["seconds"][name]
    epochs = ", ".join(f"{s:.1f}" for s in seconds["epochs"])
    parts.append(
      f"- {name}: {training['examples']} examples, {training['steps']} steps, "
      f"best dev F1 {training['best_dev_f1']:.2f} after epoch "
      f"{training['best_epoch']}; {100 * training['padding']:.1f}% padding, "
      f"{training['gold_lost_to_length']} gold mentions lost to length; "
      f"seconds of each epoch: {epochs} (compiling: {seconds['compile']:.1f})"
    )
  return "\n\n".join(parts) + "\n"


def _calibration(found: dict[str, Any]) -> str:
  def errors(key: str) -> str:
    before, after = found[key]["before"], found[key]["after"]
    return f"{before:.2f} before, {after:.2f} after"

  text = (
    f"Temperature of the type's probability, fitted on dev: "
    f"{found['temperature']:.3f}. Expected calibration error of that "
    f"probability on gold dev mentions: {errors('type_on_gold_dev')}"
  )
  if "entity_score_on_test" in found:
    text += (
      "; of the entities' scores on test predictions: "
      f"{errors('entity_score_on_test')}"
    )
  return f"{text}."


def _split_section(split: str, scores: dict[str, Any]) -> list[str]:
  types = scores["all_sentences"]["per_type"]
  on_gold = scores["classification_on_gold"]["per_type"]
  rows = [["type", "gold", "precision", "recall", "F1", "on gold"]]
  for label, row in types.items():
    rows.append(
      [
        label,
        str(row["gold"]),
        *(f"{row[k]:.2f}" for k in ("precision", "recall", "f1")),
        f"{on_gold[label]['f1']:.2f}" if label in on_gold else "",
      ]
    )
  merged = scores["reference_protocol"]["sentences"]
  return [
    f"## {split.capitalize()} by type",
    f"{scores['sentences']} sentences, {scores['gold_mentions']} gold "
    f"mentions, {scores['gold_lost_to_length']} of them lost to length; the "
    f"reference protocol scores {merged} sentences. Tagging took "
    f"{scores['seconds']['inference']:.1f} s.",
    markdown_table(rows, left=1),
  ]
