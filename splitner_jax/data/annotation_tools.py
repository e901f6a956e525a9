"""Exports of Prodigy and Label Studio -> sentences.

A text that was annotated is one sentence, as in JSON Lines.
"""

import itertools

from splitner_jax.data import records
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import Word, words_with_offsets
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

PRODIGY_KEYS = frozenset({"spans", "answer", "_input_hash", "_task_hash"})
LABEL_STUDIO_KEYS = frozenset({"annotations", "data"})
"""By any of these a record is of that tool."""

_REGIONS = ("labels", "hypertextlabels")


def has_entities(record: object) -> bool:
  """Whether a record has `entities` that are no regions of Label Studio.

  In its short export any list of regions may have that name.
  """
  if not isinstance(record, dict) or "entities" not in record:
    return False
  entities = record["entities"]
  return not (isinstance(entities, list) and _labelled(entities))


def prodigy(record: object, where: str) -> Sentence | None:
  """A record of `prodigy db-out`: `text`, `spans`, perhaps `tokens`.

  Words are its tokens, where it has them. None if its answer is not "accept":
  such records say nothing of the text.

  Raises:
    UserError: it is not as described, or a span is as no entity may be.
  """
  if not isinstance(record, dict):
    raise UserError(f"{where}: not a JSON object; export it again")
  if record.get("answer", "accept") != "accept":
    return None
  text = records.field(record, "text", str, where)
  spans = record.get("spans")
  entities = [
    {key: span.get(key) for key in ("start", "end", "label")}
    if isinstance(span, dict)
    else span
    for span in (records.field(record, "spans", list, where) if spans else [])
  ]
  words = words_with_offsets(text)
  if record.get("tokens") is not None:
    words = [
      _token(token, text, f"{where}: token {i}")
      for i, token in enumerate(records.field(record, "tokens", list, where))
    ]
  words = [word for word in words if not word.text.isspace()]
  return records.sentence_of(words, entities, len(text), where)


def _token(token: object, text: str, where: str) -> Word:
  if not isinstance(token, dict):
    raise UserError(f"{where}: not a JSON object; export it again")
  start = records.field(token, "start", int, where)
  end = records.field(token, "end", int, where)
  if not 0 <= start < end <= len(text):
    raise UserError(
      f"{where}: {start} to {end} is empty or outside the text; export it again"
    )
  return Word(text[start:end], start, end)


def label_studio(record: object, where: str) -> Sentence:
  """A task of an export of Label Studio, as JSON or as JSON-MIN.

  Its offsets count characters, or UTF-16 units in exports of old versions:
  which, follows from the texts that its regions say they have.

  Raises:
    UserError: it is not as described, has no annotation or several, or a
      region is as no entity may be.
  """
  if not isinstance(record, dict):
    raise UserError(f"{where}: not a JSON object; export it again as JSON")
  if "annotations" in record:
    data = records.field(record, "data", dict, where)
    regions = _regions(records.field(record, "annotations", list, where), where)
  else:
    data = record
    lists = [v for v in record.values() if isinstance(v, list) and _labelled(v)]
    if len(lists) > 1:
      raise UserError(f"{where}: {len(lists)} lists of regions; export as JSON")
    regions = lists[0] if lists else []
  text = _text(data, where)
  entities = [
    _entity(region, f"{where}: region {i}") for i, region in enumerate(regions)
  ]
  said = [region.get("text") for region in regions]
  if not all(map(_says, itertools.repeat(text), entities, said)):
    entities = [
      _in_characters(entity, text, other, f"{where}: region {i}")
      for i, (entity, other) in enumerate(zip(entities, said, strict=True))
    ]
  words = words_with_offsets(text)
  return records.sentence_of(words, entities, len(text), where)


def _labelled(values: list[object]) -> bool:
  """Whether a list is one of regions: one of them has labels of some kind."""
  return any(isinstance(v, dict) and any(map(_is_labels, v)) for v in values)


def _is_labels(name: str) -> bool:
  """Whether a kind of result marks a place: others say something of one."""
  return name.endswith("labels")


def _regions(annotations: list[object], where: str) -> list[Json]:
  """The regions with labels of the one annotation that counts."""
  valid = [
    annotation
    for annotation in annotations
    if isinstance(annotation, dict) and not annotation.get("was_cancelled")
  ]
  if len(valid) > 1:
    valid = [a for a in valid if a.get("ground_truth")] or valid
  if len(valid) != 1:
    raise UserError(
      f"{where}: {len(valid)} annotations; export tasks that have one, or mark "
      "one of them as ground truth"
    )
  found = []
  for item in records.field(valid[0], "result", list, where):
    kind = item.get("type") if isinstance(item, dict) else None
    if kind in _REGIONS:
      found.append(records.field(item, "value", dict, where))
    elif isinstance(kind, str) and _is_labels(kind):
      raise UserError(
        f"{where}: a region of type {kind!r}, which is not read; annotate with "
        "Labels or HyperTextLabels"
      )
  return found


def _text(data: Json, where: str) -> str:
  """The text of a task: the field `text`, or the only string that is there."""
  if isinstance(data.get("text"), str):
    return data["text"]
  texts = [value for value in data.values() if isinstance(value, str)]
  if len(texts) != 1:
    raise UserError(f"{where}: no text in it; name its field 'text'")
  return texts[0]


def _entity(region: Json, where: str) -> Json:
  if not isinstance(region, dict):
    raise UserError(f"{where}: not a JSON object; export it again")
  labels = region.get("labels") or region.get("hypertextlabels")
  if not isinstance(labels, list) or len(labels) != 1:
    raise UserError(f"{where}: labels {labels!r}; give it one")
  # Of rich text, whose own offsets are those of an element.
  place = region.get("globalOffsets") or region
  if not isinstance(place, dict):
    raise UserError(
      f"{where}: 'globalOffsets' must be an object; export it again"
    )
  start = records.field(place, "start", int, where)
  end = records.field(place, "end", int, where)
  return {"start": start, "end": end, "label": labels[0]}


def _says(text: str, entity: Json, said: object) -> bool:
  """Whether an entity has the text that its region says, if it says any."""
  start, end = entity["start"], entity["end"]
  if not isinstance(said, str):
    return True
  return end - start == len(said) and text[start:end] == said


def _in_characters(entity: Json, text: str, said: object, where: str) -> Json:
  """An entity whose offsets are UTF-16 units, in characters."""
  start, end = entity["start"], entity["end"]
  units = text.encode("utf-16-le", "surrogatepass")
  start_end = [
    len(units[: max(2 * x, 0)].decode("utf-16-le", "surrogatepass"))
    for x in (start, end)
  ]
  found = {**entity, "start": start_end[0], "end": start_end[1]}
  if not _says(text, found, said):
    raise UserError(
      f"{where}: {start} to {end} is {text[max(start, 0) : end]!r}, not "
      f"{said!r}; export it again"
    )
  return found
