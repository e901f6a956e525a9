"""What a caller asks: a body of JSON, checked, and the answer to it."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence

from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json
from splitner_jax.serving.batching import Found

# Of what a caller sent, in a message to him.
_SHOWN = 100


class QuestionError(ValueError):
  """A body that is no question.

  Attributes:
    field: that is wrong; `body` if it is no field's fault.
  """

  def __init__(self, field: str, message: str):
    super().__init__(message)
    self.field = field[:_SHOWN]


@dataclasses.dataclass(frozen=True)
class Question:
  """What is asked of the model.

  Attributes:
    texts: to be tagged.
    is_single: whether it was one `text`, no list.
    thresholds: the caller's; None: the model's.
    labels: the types that are asked for; None: all.
    details: whether the answer has the scores of both steps, and the words.
  """

  texts: Sequence[str]
  is_single: bool
  thresholds: Thresholds | None
  labels: Collection[str] | None
  details: bool = False

  def answer(self, found: Sequence[Found], thresholds: Thresholds) -> Json:
    """The body of the answer, as `SplitNER.predict` would choose entities.

    Args:
      found: in each text.
      thresholds: the model's.
    """
    least = self.thresholds or thresholds
    rows = [list(self._entities(each, least)) for each in found]
    body: Json = {"entities": rows[0] if self.is_single else rows}
    if self.details:
      words = [
        [[w[1:] for w in sentence] for sentence in each.sentences]
        for each in found
      ]
      body["sentences"] = words[0] if self.is_single else words
    return body

  def _entities(self, found: Found, least: Thresholds) -> Iterator[Json]:
    for entity, steps in zip(found.entities, found.steps, strict=True):
      if entity.score < least.of(entity.label):
        continue
      if self.labels is not None and entity.label not in self.labels:
        continue
      fields = {k: v for k, v in entity._asdict().items() if v is not None}
      if self.details and steps:
        fields["span_score"] = steps.span
        fields["types"] = [
          {"label": label, "score": score} for label, score in steps.types
        ]
      yield fields


def read(body: bytes, known: Sequence[str]) -> Question:
  """Reads the body of a request.

  Args:
    body: JSON.
    known: the model's types.

  Raises:
    QuestionError: it is something else than the API describes.
  """
  try:
    fields = parse(body)
  except ValueError as e:
    raise QuestionError("body", f"no JSON: {_shown(str(e))}") from None
  if not isinstance(fields, dict):
    raise QuestionError("body", "is no object; give one with text or texts")
  for name in fields:
    if name not in ("text", "texts", "threshold", "labels", "details"):
      raise QuestionError(
        name,
        f"{_shown(name)!r} is no field; there are text or texts, threshold, "
        "labels, details",
      )
  if "text" in fields and "texts" in fields:
    raise QuestionError("texts", "is there beside text; give one of them")
  if "text" not in fields and "texts" not in fields:
    raise QuestionError("text", "is missing; give text or texts")
  single = "text" in fields
  texts = [fields["text"]] if single else _strings("texts", fields["texts"])
  if single and not isinstance(texts[0], str):
    raise QuestionError("text", "is no string")
  threshold, labels = fields.get("threshold"), fields.get("labels")
  details = fields.get("details")
  if not (details is None or isinstance(details, bool)):
    raise QuestionError("details", "is neither true nor false")
  return Question(
    texts,
    single,
    None if threshold is None else Thresholds(_score(threshold)),
    None if labels is None else _known(_strings("labels", labels), known),
    bool(details),
  )


def _shown(text: str) -> str:
  return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _strings(field: str, value: object) -> list[str]:
  if not isinstance(value, list):
    raise QuestionError(field, "is no list of strings")
  for i, item in enumerate(value):
    if not isinstance(item, str):
      raise QuestionError(field, f"{field}[{i}] is no string")
  return value


def _score(value: object) -> float:
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise QuestionError("threshold", "is no number")
  if not 0 <= value <= 1:
    raise QuestionError("threshold", "is no score; give one from 0 to 1")
  return float(value)


def _known(labels: Iterable[str], known: Sequence[str]) -> frozenset[str]:
  found = frozenset(labels)
  if not found:
    raise QuestionError("labels", "is empty; leave it out for all types")
  unknown = sorted(found - set(known))
  if unknown:
    raise QuestionError(
      "labels",
      f"{_shown(unknown[0])!r} is none of the types, {', '.join(known)}",
    )
  return found
