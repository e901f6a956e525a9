"""What is refused of a request for tagging before a text is read."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from splitner_jax.runtime.errors import UserError

# JAX is imported with the first model; see `pipeline`.
if TYPE_CHECKING:
  from splitner_jax.inference.ner_model import NerModel


def check_model(name: str, labels: Collection[str] | None) -> None:
  """Raises UserError if no text could be tagged with a model of this name.

  Reads no weights and takes no device: for who has others load the model.

  Args:
    name: of `SplitNER.from_pretrained`.
    labels: of `SplitNER.predict`.
  """
  from splitner_jax.inference import model_folder

  model = model_folder.load(name, weights=False)
  check_reads_text(model)
  if labels is not None:
    known_labels(labels, model)


def check_reads_text(model: "NerModel") -> None:
  """Raises UserError for a model that reads what text does not have."""
  if model.reads_pos:
    raise UserError(
      "the model reads parts of speech, which text does not have, so that it "
      "cannot tag text; train one without the feature pos"
    )


def known_labels(labels: Collection[str], model: "NerModel") -> frozenset[str]:
  """Some of a model's entity types, after a look at their names."""
  asked = [labels] if isinstance(labels, str) else labels
  unknown = sorted(set(asked) - set(model.labels))
  if unknown:
    raise UserError(
      f"labels: {', '.join(map(repr, unknown))} is none of the model's "
      f"types, {', '.join(model.labels)}"
    )
  return frozenset(asked)


def check_choice(
  threshold: float | None, labels: Collection[str] | None
) -> None:
  """Raises UserError for what would leave no entity, whatever the text."""
  if threshold is not None and not 0 <= threshold <= 1:
    raise UserError(
      f"threshold: {threshold} is no score; give one from 0 to 1, such as 0.95"
    )
  if labels is not None and not labels:
    raise UserError("labels: is empty; name a type, or leave it out for all")


def check_batch_size(batch_size: int | None) -> None:
  """Raises UserError for no sentences at a time."""
  if batch_size is not None and batch_size < 1:
    raise UserError(f"batch_size: {batch_size} is below the least, 1")
