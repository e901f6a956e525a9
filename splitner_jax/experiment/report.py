"""report.json, the record of a run, and report.md, the same to read.

Of each split, `dev` and `test`, report.json has `all_sentences` (the honest
score), `reference_protocol` (how the paper's code counts, for comparison with
the paper only), `raw_text` (see there; of test alone), `detection` (of the
mentions as they are given out, whatever their type), `classification_on_gold`,
each with `precision`, `recall`, `f1` in percent, and `per_type` where it
applies; and `sentences`, `gold_mentions`; `interval`, within which F1 over all
sentences is in 95 of 100 resamplings of them; `per_sentence`, the counts that
comparisons need; `errors`, see `evaluation.error_analysis`. What a system does
not have is left out. Mentions are lost to length in `training` alone. `seconds`
are without compile time, which stands apart.
`calibration` has the temperature and expected calibration errors, see
`calibrate`; `decoding` what dev chose, if it was asked.
"""

import json
import os
import pathlib
import platform

import jax
from ml_collections import ConfigDict

import splitner_jax
from splitner_jax.data.corpora import Corpus
from splitner_jax.evaluation.tables import figures, markdown_table
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.systems import SYSTEMS

SPLITS = ("dev", "test")

ROWS = {
  "all_sentences": "{}, all sentences",
  "reference_protocol": "{}, reference protocol",
  "raw_text": "{}, from raw text",
  "detection": "spans, whatever their type",
  "classification_on_gold": "classification of gold mentions",
}
"""The scores of a split, with their titles for a system."""


def start(
  config: ConfigDict, corpus: Corpus, progress: dict[str, Json]
) -> Json:
  """The parts of a report that are known before the evaluation.

  Args:
    config: of the run.
    corpus: the sentences.
    progress: what `training.loop.train` returned for each task.
  """
  return {
    "splitner_jax": splitner_jax.__version__,
    "devices": [d.device_kind for d in jax.devices()],
    "machine": f"{os.cpu_count()} cores, {platform.machine()}",
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
        "inference_padding": p["inference_padding"],
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


def machine() -> str:
  """Devices and cores of this machine, for readers."""
  devices = jax.devices()
  cores = f"{os.cpu_count()} cores, {platform.machine()}"
  return f"{len(devices)} x {devices[0].device_kind} ({cores})"


def write(result: Json, workdir: pathlib.Path) -> None:
  """Writes WORKDIR/report.md, then WORKDIR/report.json."""
  atomic_write(workdir / "report.md", [markdown(result)])
  text = json.dumps(result, indent=2) + "\n"
  atomic_write(workdir / "report.json", [text])


def title(config: Json) -> str:
  """The paper's name of the system that a config describes."""
  return SYSTEMS[config["system"]].title


def table(result: Json) -> str:
  """The scores as an aligned Markdown table."""
  system = title(result["config"])
  rows = [["", "split", "precision", "recall", "F1"]]
  for key, name in ROWS.items():
    for split in SPLITS:
      if key in result.get(split, {}):
        scores = figures(result[split][key])
        rows.append([name.format(system), split, *scores])
  return markdown_table(rows, left=2)


def markdown(result: Json) -> str:
  """The whole report.md."""
  corpus, config = result["corpus"], result["config"]
  sizes = ", ".join(f"{n} {s}" for s, n in corpus["sentences"].items())
  parts = [
    f"# {title(config)} on {corpus['name']}",
    f"Backbone {config['backbone']}, seed {config['seed']}; sentences: "
    f"{sizes} (content {corpus['content_hash']}); "
    f"{len(result['devices'])} x {result['devices'][0]}.",
    "## Scores",
    "Mentions count as found when words and type are right, in percent. *All "
    "sentences* is the honest figure. *Reference protocol* counts as the "
    "code of the paper does (of a system of two steps it leaves out sentences "
    "without a detected mention); it is for comparison with the paper only.",
    table(result),
  ]
  if "decoding" in result:
    found = result["decoding"]
    parts.append(
      f"Chosen on dev: {found['o_bias']:g} added to the logit of O, mentions "
      f"with a score below {found['min_score']:g} dropped (F1 on dev "
      f"{found['f1_before']:.2f} before, {found['f1']:.2f} after)."
    )
  if "calibration" in result:
    parts.append(_calibration(result["calibration"]))
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


def _calibration(found: Json) -> str:
  def errors(key: str) -> str:
    before, after = found[key]["before"], found[key]["after"]
    return f"{before:.2f} before, {after:.2f} after"

  text = (
    f"Temperature of the type's probability, fitted on dev: "
    f"{found['temperature']:.3f}. Expected calibration error of that "
    "probability on the dev mentions that are detected: "
    f"{errors('type_on_gold_dev')}"
  )
  if "entity_score_on_test" in found:
    text += (
      "; of the entities' scores on test predictions: "
      f"{errors('entity_score_on_test')}"
    )
  return f"{text}."


def _split_section(split: str, scores: Json) -> list[str]:
  types = scores["all_sentences"]["per_type"]
  on_gold = scores.get("classification_on_gold", {}).get("per_type", {})
  low, high = scores["interval"]
  rows = [["type", "gold", "precision", "recall", "F1", "on gold"]]
  for label, row in types.items():
    rows.append(
      [
        label,
        str(row["gold"]),
        *figures(row),
        f"{on_gold[label]['f1']:.2f}" if label in on_gold else "",
      ]
    )
  merged = scores["reference_protocol"]["sentences"]
  splitting = ""
  if "raw_text" in scores:
    lost = scores["raw_text"]["lost_to_splitting"]
    splitting = (
      f"Of the mentions, {lost} are lost to the splitting of raw text into "
      "sentences and words. "
    )
  return [
    f"## {split.capitalize()} by type",
    f"F1 over all sentences is between {low:.2f} and {high:.2f} in 95 of 100 "
    "resamplings of the sentences.",
    f"{scores['sentences']} sentences, {scores['gold_mentions']} gold "
    f"mentions; the reference protocol scores {merged} sentences. {splitting}"
    f"Tagging took {scores['seconds']['inference']:.1f} s. errors-{split}.md "
    "shows the errors.",
    markdown_table(rows, left=1),
  ]
