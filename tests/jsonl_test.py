"""JSON Lines -> sentences, and the errors that name file and line."""

import json

import pytest

from splitner_jax.data import jsonl
from splitner_jax.data.sentences import Span
from splitner_jax.runtime.errors import UserError

WORDS = [
  ("Ana", "Lima", "met", "Bo", "#"),
  ("O", "no", "!"),
  ("Rio", "Ana", "Bo", "Cy"),
]
SPANS = [
  (Span(0, 2, "person"), Span(3, 4, "person")),
  (),
  (Span(0, 1, "place"), Span(1, 3, "x-y"), Span(3, 4, "x-y")),
]


def write(tmp_path, content: str):
  path = tmp_path / "corpus.jsonl"
  path.write_bytes(content.encode())
  return path


@pytest.mark.parametrize("key", ["tokens", "text"])
def test_jsonl(tmp_path, key):
  lines = []
  for words, spans in zip(WORDS, SPANS, strict=True):
    text = "  ".join(words)
    starts = [len("  ".join([*words[:i], ""])) for i in range(len(words))]
    entities = [
      {"start": start, "end": end, "label": label}
      if key == "tokens"
      else {
        "start": starts[start],
        "end": starts[end - 1] + len(words[end - 1]),
        "label": label,
      }
      for start, end, label in reversed(spans)
    ]
    value = list(words) if key == "tokens" else text
    lines.append(json.dumps({key: value, "entities": entities}))
  path = write(tmp_path, "\ufeff" + "\r\n".join(lines))
  sentences = jsonl.read(path)
  assert [sentence.words for sentence in sentences] == WORDS
  assert [sentence.spans for sentence in sentences] == SPANS
  assert [sentence.pos for sentence in sentences] == [(), (), ()]
  assert sentences[2].source == f"{path}:3"


def test_text_counts_characters_and_ignores_blanks_at_edges(tmp_path):
  line = (
    '{"text": "\\ud83d\\ude00 Ana Lima, ok",'
    ' "entities": [{"start": 1, "end": 10, "label": "person"}]}'
  )
  (sentence,) = jsonl.read(write(tmp_path, line))
  assert sentence.words == ("\U0001f600", "Ana", "Lima", ",", "ok")
  assert sentence.spans == (Span(1, 3, "person"),)


@pytest.mark.parametrize(
  "content", ['"tokens": ["Ana", "met", "Bo"]', '"text": "Ana  met Bo"']
)
def test_parts_of_speech(tmp_path, content):
  line = f'{{{content}, "entities": [], "pos": ["NNP", "VBD", "NNP"]}}'
  bare = f'{{{content}, "entities": []}}'
  first, second = jsonl.read(write(tmp_path, f"{line}\n{bare}"))
  assert first.words == second.words == ("Ana", "met", "Bo")
  assert (first.pos, second.pos) == (("NNP", "VBD", "NNP"), ())


def entity(start=0, end=1, label="x", **more) -> dict:
  return {"start": start, "end": end, "label": label, **more}


def tokens(*entities) -> dict:
  return {"tokens": ["a", "b"], "entities": list(entities)}


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    ("", "not JSON"),
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "not a JSON object"),
    ('{"text": "a", "text": "b", "entities": []}', "'text' appears twice"),
    ({"tokens": ["a"]}, "'entities' is missing"),
    ({"entities": []}, "either 'text' or 'tokens'"),
    ({"text": "a", **tokens()}, "either 'text' or 'tokens'"),
    ({**tokens(), "id": 1}, "key 'id' is unknown"),
    ({"text": 1, "entities": []}, "'text' must be a string"),
    ({"text": " ", "entities": []}, "no word in it"),
    ({"tokens": "a", "entities": []}, "'tokens' must be a list"),
    ({"tokens": [], "entities": []}, "no word in it"),
    ({"tokens": ["a", ""], "entities": []}, "word ''"),
    ({"tokens": ["a\tb"], "entities": []}, r"word 'a\tb'"),
    ({"tokens": [1], "entities": []}, "word 1"),
    ({"tokens": ["\ud83d"], "entities": []}, "half a character"),
    ({"tokens": ["a"], "entities": {}}, "'entities' must be a list"),
    ({**tokens(), "pos": "DT NN"}, "'pos' must be a list"),
    ({**tokens(), "pos": None}, "'pos' must be a list"),
    ({**tokens(), "pos": []}, "0 parts of speech for 2 words"),
    ({**tokens(), "pos": ["DT"] * 3}, "3 parts of speech for 2 words"),
    ({**tokens(), "pos": ["DT", ""]}, "part of speech ''"),
    ({**tokens(), "pos": ["DT", 1]}, "part of speech 1 must be a string"),
    ({**tokens(), "pos": ["DT", "\ud83d"]}, "half a character"),
    (tokens(1), "entity 0: not a JSON object"),
    (tokens(entity(), {"start": 1, "end": 2}), "entity 1: 'label' is missing"),
    (tokens(entity(score=1)), "key 'score' is unknown"),
    (tokens(entity(start="0")), "'start' must be a whole number"),
    (tokens(entity(end=True)), "'end' must be a whole number"),
    (tokens(entity(end=1.0)), "'end' must be a whole number"),
    (tokens(entity(label=None)), "'label' must be a string"),
    (tokens(entity(label="")), "label ''"),
    (tokens(entity(label=" x")), "label ' x'"),
    (tokens(entity(label="x\u200b")), "invisible character at an edge"),
    (tokens(entity(label="x\0y")), "another control character"),
    ('{"tokens": ["a\\u0000"], "entities": []}', "holds a NUL"),
    ('{"tokens": ["a"], "entities": NaN}', "NaN is no number"),
    ('{"tokens": ["a"], "entities": [], "x": 1e999}', "1e999 is too large"),
    (tokens(entity(label="x\ny")), r"label 'x\ny'"),
    (tokens(entity(end=3)), "0 to 3 is empty or outside 0 to 2"),
    (tokens(entity(start=-1)), "-1 to 1 is empty or outside"),
    (tokens(entity(start=1, end=1)), "1 to 1 is empty or outside"),
    (tokens(entity(end=2), entity(1, 2)), "'x' (0 to 2) and 'x' (1 to 2)"),
    (tokens(entity(), entity()), "overlap"),
    (
      {"text": "of Anas", "entities": [entity(3, 6)]},
      "entity 'x' (3 to 6) cuts the word 'Anas' (3 to 7)",
    ),
    ({"text": "a   b", "entities": [entity(1, 3)]}, "holds no word"),
  ],
)
def test_wrong_json(tmp_path, record, reason):
  line = record if isinstance(record, str) else json.dumps(record)
  good = json.dumps(tokens(entity()))
  path = write(tmp_path, f"{good}\n{line}\n{good}\n")
  with pytest.raises(UserError) as caught:
    jsonl.read(path)
  text = str(caught.value)
  assert "\n" not in text
  assert text.startswith(f"{path}:2: ")
  assert reason in text
