"""Rows of the library datasets: words beside tags, or numbers of tags."""

from collections.abc import Callable, Iterable, Sequence

from splitner_jax.data import records, tags
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.words import check_word
from splitner_jax.runtime.errors import UserError


def names_of(info: object, where: str) -> tuple[str, ...]:
  """The names of the feature `ner_tags`, a list of ClassLabel; else none.

  Args:
    info: what the library datasets writes about a data set, its `features`.
    where: they come from, for messages.

  Raises:
    UserError: the names are no list of strings.
  """
  found = info
  for key in ("features", "ner_tags"):
    found = found.get(key) if isinstance(found, dict) else None
  while not (isinstance(found, dict) and "names" in found):
    # A list of a feature: [feature], or {"feature": feature, ...}.
    if isinstance(found, dict):
      found = found.get("feature")
    elif isinstance(found, list) and found:
      found = found[0]
    else:
      return ()
  names = found["names"]
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise UserError(f"{where}: names of ner_tags: is no list of names; mend it")
  return tuple(names)


def sentences(
  rows: Iterable[tuple[str, object]], names: Callable[[], Sequence[str]]
) -> list[Sentence]:
  """The sentences of rows `{"tokens": [...], "ner_tags": [...]}`.

  The scheme of the tags is recognised by itself; keys beside the two are not
  read.

  Args:
    rows: where each stands, and what it holds.
    names: says what numbers of tags mean, if that is known; asked for once.

  Raises:
    UserError: a row is not as described, or its tags are impossible.
  """
  read: list[tuple[str, list[str], list[str]]] = []
  known: Sequence[str] | None = None
  for where, record in rows:
    if not isinstance(record, dict):
      raise UserError(f"{where}: not a JSON object; give tokens and ner_tags")
    words = records.field(record, "tokens", list, where)
    given = records.field(record, "ner_tags", list, where)
    if not words:
      raise UserError(f"{where}: no word in it; remove the row or add words")
    for word in words:
      check_word(word, where)
    if len(given) != len(words):
      raise UserError(
        f"{where}: {len(given)} ner_tags for {len(words)} tokens; give one for "
        "each"
      )
    if known is None and any(isinstance(tag, int) for tag in given):
      known = names()
    found = [
      _name(tag, known or (), f"{where}: word {i}")
      for i, tag in enumerate(given)
    ]
    read.append((where, words, found))
  scheme = tags.detect_scheme(found for _, _, found in read)
  result = []
  for where, words, found in read:
    try:
      spans = tags.tags_to_spans(found, scheme)
    except tags.TagError as error:
      raise UserError(
        f"{where}: word {error.word}: {error.reason} (the file reads as "
        f"{scheme})"
      ) from None
    result.append(Sentence(tuple(words), tuple(spans), source=where))
  return result


def _name(tag: object, names: Sequence[str], where: str) -> str:
  if isinstance(tag, str):
    return tag
  if not isinstance(tag, int) or isinstance(tag, bool):
    raise UserError(
      f"{where}: tag {tag!r} is neither a name nor a number; write names"
    )
  if not names:
    raise UserError(
      f"{where}: tag {tag} is a number without a name; write names, or put "
      "the data set's dataset_info.json beside the file"
    )
  if not 0 <= tag < len(names):
    raise UserError(
      f"{where}: tag {tag} is none of the {len(names)} that have names; "
      "correct the tag, or add its name"
    )
  return names[tag]
