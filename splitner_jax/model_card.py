"""The README.md of a published folder: data, recipe, scores, command."""

from typing import Any

from splitner_jax import report


def card(result: dict[str, Any], command: str) -> str:
  """A model card.

  Args:
    result: what stands in `report.json`.
    command: the command that trained the model.
  """
  corpus, config = result["corpus"], result["config"]
  recipe = {
    "backbone": config["backbone"],
    **{
      key: config[key]
      for key in ("max_length", "batch_size", "learning_rate", "seed")
    },
    **{f"detector.{key}": value for key, value in config["detector"].items()},
    **{
      f"classifier.{key}": value for key, value in config["classifier"].items()
    },
  }
  parts = [
    "---\nlibrary_name: splitner_jax\npipeline_tag: token-classification\n"
    "tags:\n- named-entity-recognition\n---",
    f"# SplitNER on {corpus['name']}",
    "Finds mentions of "
    + ", ".join(corpus["types"])
    + ": one model detects them, another names the type of each.",
    "```python\nfrom splitner_jax import SplitNER\n\n"
    'ner = SplitNER.from_pretrained("FOLDER OR HUB ID")\n'
    'ner.predict("Text of any length.")\n```',
    "## Scores",
    "In percent; *all sentences* is the honest figure, *reference protocol* "
    "counts like the code of the paper.",
    report.table(result),
    "## Data",
    f"{corpus['name']}, content {corpus['content_hash']}; sentences: "
    + ", ".join(f"{n} {split}" for split, n in corpus["sentences"].items())
    + ".",
    "## Recipe",
    f"splitner_jax {result['splitner_jax']}:\n\n```\n{command}\n```",
    "\n".join(
      f"- {key}: {'(empty)' if value == '' else value}"
      for key, value in recipe.items()
      if value is not None
    ),
  ]
  return "\n\n".join(parts) + "\n"
