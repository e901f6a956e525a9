"""The README.md of a published folder: data, recipe, scores, command."""

from splitner_jax.experiment import report
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.systems import SYSTEMS


def card(result: Json, command: str) -> str:
  """A model card.

  Args:
    result: what stands in `report.json`.
    command: the command that trained the model.
  """
  corpus, config = result["corpus"], result["config"]
  task_names = SYSTEMS[config["system"]].task_names
  recipe = {
    "backbone": config["backbone"],
    **{
      key: config[key]
      for key in ("max_length", "batch_size", "learning_rate", "seed")
    },
    **{
      f"{name}.{key}": value
      for name in task_names
      for key, value in config[name].items()
    },
  }
  steps = (
    "one model detects them, another names the type of each"
    if "classifier" in task_names
    else "one model detects them and names their types"
  )
  parts = [
    "---\nlibrary_name: splitner_jax\npipeline_tag: token-classification\n"
    "tags:\n- named-entity-recognition\n---",
    f"# {report.title(config)} on {corpus['name']}",
    "Finds mentions of " + ", ".join(corpus["types"]) + f": {steps}.",
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
    "## Limits",
    "\n".join(
      [
        "- It knows the types above and no others; mentions never overlap.",
        f"- The scores are those of sentences like {corpus['name']}'s. Text of "
        "another kind or language has others: score a labelled sample of it "
        "with `splitner score` before relying on them.",
        "- They are of words that the corpus has split. Text is split by "
        "rules, and sentences by others; a mention that ends within a word is "
        "not found.",
        "- It learned from what people wrote and annotated, errors and "
        "prejudice included; look at what it finds before acting on it.",
      ]
    ),
    "## Recipe",
    f"splitner_jax {result['splitner_jax']}:\n\n```\n{command}\n```",
    "\n".join(
      f"- {key}: {'(empty)' if value == '' else value}"
      for key, value in recipe.items()
      if value is not None
    ),
  ]
  return "\n\n".join(parts) + "\n"
