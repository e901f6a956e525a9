"""JSON as files of ours have it."""

import pytest

from splitner_jax.runtime.json_text import parse


def test_text_and_bytes():
  for text in ('{"é": [1, 0.5]}', '{"é": [1, 0.5]}'.encode()):
    assert parse(text) == {"é": [1, 0.5]}


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("{", "Expecting property name enclosed in double quotes"),
    ("{\n", "Expecting property name enclosed in double quotes, line 2"),
    ('{"a": 1, "a": 2}', "key 'a' appears twice"),
    ("[NaN]", "NaN is no number of JSON"),
    ("[" * 200_000, "too deep"),
    (b'["\xff"]', "not UTF-8"),
    ("[1]".encode("utf-16"), "not UTF-8"),
    ("[1]".encode("utf-8-sig"), "BOM"),
    ("[1]".encode("utf-32-le"), "Expecting"),
  ],
)
def test_what_only_looks_like_it(text: str | bytes, reason: str):
  with pytest.raises(ValueError, match=reason) as caught:
    parse(text)
  assert "\n" not in str(caught.value)
