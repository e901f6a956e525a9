"""Kinds of errors, recall, confused types; their page and picture."""

import json
import random

import pytest

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import error_analysis, metrics
from splitner_jax.runtime.errors import UserError

TEXT = "Ada Byron met Mary of New South Wales in Old York"
WORDS = tuple(TEXT.split())
NSW = "New South Wales"


def sentence(*spans: Span, words=WORDS, source="/home/me/data/a.tsv:7"):
  return Sentence(words, spans, source=source)


def scored(*spans: Span) -> list[ScoredSpan]:
  return [ScoredSpan(*span, 0.5) for span in spans]


def analyse(gold, predicted, train=()):
  return error_analysis.analyse(train, [sentence(*gold)], [scored(*predicted)])


def sides(analysis) -> dict[str, list[tuple]]:
  """The mentions in each category: (gold text, predicted text)."""
  return {
    name: [
      tuple(e[side] and e[side]["text"] for side in ("gold", "predicted"))
      for e in row["examples"]
    ]
    for name, row in analysis["categories"].items()
    if row["examples"]
  }


@pytest.mark.parametrize(
  ("predicted", "category"),
  [
    (Span(5, 8, "place"), "correct"),
    (Span(5, 8, "person"), "wrong_type"),
    (Span(6, 8, "place"), "wrong_boundary"),
    (Span(4, 6, "person"), "wrong_both"),
  ],
)
def test_categories_of_a_pair(predicted, category):
  found = analyse([Span(5, 8, "place")], [predicted])
  text = " ".join(WORDS[predicted.start : predicted.end])
  assert sides(found) == {category: [(NSW, text)]}


def test_neighbours_are_no_pair():
  found = analyse([Span(5, 8, "place")], [Span(8, 9, "place")])
  assert sides(found) == {
    "missed": [(NSW, None)],
    "false": [(None, "in")],
  }


@pytest.mark.parametrize(
  ("gold", "predicted", "wanted"),
  [
    pytest.param(
      [Span(5, 8, "a")],
      [Span(5, 8, "b"), Span(5, 8, "a")],
      {"correct": [(NSW, NSW)], "false": [(None, NSW)]},
      id="equal before same words",
    ),
    pytest.param(
      [Span(5, 8, "a")],
      [Span(5, 7, "a"), Span(5, 8, "b")],
      {"wrong_type": [(NSW, NSW)], "false": [(None, "New South")]},
      id="same words before same type",
    ),
    pytest.param(
      [Span(5, 8, "a")],
      [Span(5, 7, "b"), Span(7, 9, "a")],
      {"wrong_boundary": [(NSW, "Wales in")], "false": [(None, "New South")]},
      id="same type before larger overlap",
    ),
    pytest.param(
      [Span(5, 8, "a")],
      [Span(4, 6, "a"), Span(6, 9, "a")],
      {
        "wrong_boundary": [(NSW, "South Wales in")],
        "false": [(None, "of New")],
      },
      id="larger overlap of the same type",
    ),
    pytest.param(
      [Span(5, 8, "a")],
      [Span(4, 6, "b"), Span(6, 9, "b")],
      {"wrong_both": [(NSW, "South Wales in")], "false": [(None, "of New")]},
      id="larger overlap of another type",
    ),
    pytest.param(
      [Span(0, 1, "a"), Span(1, 2, "a")],
      [Span(0, 2, "a")],
      {"wrong_boundary": [("Ada", "Ada Byron")], "missed": [("Byron", None)]},
      id="the first of equals; one prediction has one partner",
    ),
    pytest.param(
      [Span(0, 2, "a")],
      [Span(1, 2, "a"), Span(0, 1, "a"), Span(0, 1, "a")],
      {"wrong_boundary": [("Ada Byron", "Ada")], "false": [(None, "Byron")]},
      id="repeated predictions count once",
    ),
    pytest.param(
      [],
      [Span(0, 1, "a"), Span(0, 1, "a")],
      {"false": [(None, "Ada")]},
      id="also false ones",
    ),
  ],
)
def test_the_closest_are_matched(gold, predicted, wanted):
  assert sides(analyse(gold, predicted)) == wanted
  assert sides(analyse(gold, predicted[::-1])) == wanted


def test_each_mention_is_in_one_category():
  rng = random.Random(0)
  sentences, predicted = [], []
  for _ in range(50):
    cuts = sorted(rng.sample(range(len(WORDS) + 1), 6))
    gold = [
      Span(start, end, rng.choice("xy"))
      for start, end in zip(cuts[::2], cuts[1::2], strict=True)
    ]
    sentences.append(sentence(*gold))
    starts = [rng.randrange(len(WORDS)) for _ in range(4)]
    # Overlapping, as no system of ours leaves them.
    spans = {
      *(
        Span(s, min(s + rng.randint(1, 4), 11), rng.choice("xy"))
        for s in starts
      ),
      rng.choice(gold),
    }
    predicted.append(scored(*spans))
  found = error_analysis.analyse([], sentences, predicted)
  count = {
    name: row["seen"] + row["unseen"]
    for name, row in found["categories"].items()
  }
  assert list(count) == list(error_analysis.CATEGORIES)
  assert all(count.values())
  scores = metrics.score([s.spans for s in sentences], predicted)
  both = sum(count.values()) - count["missed"] - count["false"]
  assert count["correct"] == scores["correct"]
  assert both + count["missed"] == scores["gold"]
  assert both + count["false"] == scores["predicted"]

  recall = found["recall"]
  for rows in recall.values():
    assert sum(row["gold"] for row in rows.values()) == scores["gold"]
    assert sum(row["correct"] for row in rows.values()) == scores["correct"]
    detected = count["correct"] + count["wrong_type"]
    assert sum(row["detected"] for row in rows.values()) == detected

  table = found["confusion"]["table"]
  assert found["confusion"]["types"] == ["x", "y"]
  assert table[0][0] + table[1][1] == scores["correct"]
  assert table[0][1] + table[1][0] == count["wrong_type"]
  for i, label in enumerate("xy"):
    row = scores["per_type"][label]
    assert sum(table[i]) == row["gold"]
    assert sum(line[i] for line in table) == row["predicted"]
  assert table[2][2] == 0


def test_seen_is_by_the_gold_text_in_training():
  train = [
    Sentence(("NEW", "south", "Wales"), (Span(0, 3, "other"),)),
    Sentence(("Old", "York"), (Span(1, 2, "place"),)),
  ]
  found = analyse(
    [Span(5, 8, "place"), Span(9, 11, "place")],
    [Span(6, 8, "place"), Span(10, 11, "place"), Span(0, 1, "person")],
    train,
  )
  # York was seen, but the gold mention is Old York.
  both = found["categories"]["wrong_boundary"]
  assert (both["seen"], both["unseen"]) == (1, 1)
  assert [e["seen"] for e in both["examples"]] == [True, False]
  assert found["categories"]["false"]["unseen"] == 1
  alone = analyse([], [Span(10, 11, "person")], train)
  assert alone["categories"]["false"]["seen"] == 1


def test_recall():
  gold = [Span(0, 1, "a"), Span(1, 3, "a"), Span(3, 6, "a"), Span(6, 11, "a")]
  predicted = [Span(0, 1, "a"), Span(1, 3, "b"), Span(3, 5, "a")]
  train = [Sentence(("ada",), (Span(0, 1, "a"),))]
  assert analyse(gold, predicted, train)["recall"] == {
    "by_words": {
      "1": {"gold": 1, "detected": 1, "correct": 1},
      "2": {"gold": 1, "detected": 1, "correct": 0},
      "3": {"gold": 1, "detected": 0, "correct": 0},
      "4+": {"gold": 1, "detected": 0, "correct": 0},
    },
    "by_seen": {
      "seen": {"gold": 1, "detected": 1, "correct": 1},
      "unseen": {"gold": 3, "detected": 1, "correct": 0},
    },
  }


def test_confusion():
  found = analyse(
    [Span(0, 2, "b"), Span(3, 4, "b"), Span(5, 8, "a")],
    [Span(0, 2, "c"), Span(3, 4, "b"), Span(5, 7, "a"), Span(9, 11, "c")],
  )
  assert found["confusion"] == {
    "types": ["a", "b", "c"],
    "table": [[0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]],
  }


def test_an_example():
  words = tuple(f"w{i}" for i in range(30))
  cases = [
    (Span(12, 14, "a"), Span(13, 15, "b"), "... w4 ", " w22 ..."),
    (Span(8, 9, "a"), Span(8, 9, "b"), "w0 ", " w16 ..."),
    (Span(21, 22, "a"), Span(21, 22, "b"), "... w13 ", " w29"),
  ]
  for gold, predicted, start, end in cases:
    one = sentence(gold, words=words)
    found = error_analysis.analyse([], [one], [scored(predicted)])
    [example] = (
      e for row in found["categories"].values() for e in row["examples"]
    )
    assert example["text"].startswith(start)
    assert example["text"].endswith(end)
    assert example["gold"] == {
      "text": " ".join(words[gold.start : gold.end]),
      "type": "a",
    }
    assert example["predicted"]["type"] == "b"
    assert example["source"] == "a.tsv:7"


@pytest.mark.parametrize(
  ("source", "shown", "notes"),
  [
    ("C:\\data\\a.tsv:7", "a.tsv:7", "(unseen, a.tsv:7)"),
    ("a.tsv:7", "a.tsv:7", "(unseen, a.tsv:7)"),
    ("", "", "(unseen)"),
  ],
)
def test_source_of_an_example(source, shown, notes):
  one = sentence(Span(0, 1, "a"), source=source)
  found = error_analysis.analyse([], [one], [[]])
  assert found["categories"]["missed"]["examples"][0]["source"] == shown
  assert notes in error_analysis.markdown(found)


@pytest.mark.parametrize(
  ("errors", "wanted"),
  [
    (3, [0, 1, 2]),
    (10, list(range(10))),
    (100, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
    (11, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
  ],
)
def test_examples_are_spread(errors, wanted):
  sentences = [
    sentence(Span(0, 1, "a"), source=f"x:{i}") for i in range(errors)
  ]
  found = error_analysis.analyse([], sentences, [[] for _ in sentences])
  examples = found["categories"]["missed"]["examples"]
  assert [e["source"] for e in examples] == [f"x:{i}" for i in wanted]


def test_sides_must_be_the_same_sentences():
  with pytest.raises(ValueError, match="zip"):
    error_analysis.analyse([], [sentence()], [])


def cells(text: str, heading: str) -> list[list[str]]:
  """The table that has this in its head."""
  lines = iter(text.splitlines())
  head = next(line for line in lines if line.startswith(f"| {heading} "))
  next(lines)
  rows = [head]
  while (line := next(lines)).startswith("|"):
    rows.append(line)
  return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def example_analysis():
  train = [Sentence(("ada", "byron"), (Span(0, 2, "person"),))]
  words = (*WORDS[:-1], "Yo`rk*")
  one = sentence(
    Span(0, 2, "person"),
    Span(3, 4, "person"),
    Span(5, 8, "place"),
    Span(9, 11, "place"),
    words=words,
  )
  found = [Span(0, 2, "person"), Span(3, 4, "place"), Span(9, 10, "place")]
  return error_analysis.analyse(train, [one], [scored(*found)])


def test_the_page():
  analysis = example_analysis()
  text = error_analysis.markdown(json.loads(json.dumps(analysis)))
  rows = cells(text, "category")
  assert rows[0] == ["category", "meaning", "seen", "unseen", "all"]
  assert [(row[0], *row[2:]) for row in rows[1:]] == [
    ("correct", "1", "0", "1"),
    ("wrong type", "0", "1", "1"),
    ("wrong boundary", "0", "1", "1"),
    ("wrong both", "0", "0", "0"),
    ("missed", "0", "1", "1"),
    ("false", "0", "0", "0"),
  ]
  assert cells(text, "gold mentions by words")[1:] == [
    ["1", "1", "100.00", "0.00"],
    ["2", "2", "50.00", "50.00"],
    ["3", "1", "0.00", "0.00"],
    ["4+", "0", "", ""],
  ]
  assert cells(text, "gold mentions in training")[1:] == [
    ["seen", "1", "100.00", "100.00"],
    ["unseen", "3", "33.33", "0.00"],
  ]
  assert cells(text, "gold  ") == [
    ["gold", "person", "place", "(none)"],
    ["person", "1", "1", "0"],
    ["place", "0", "0", "2"],
    ["(none)", "0", "1", "0"],
  ]
  headings = [line[4:] for line in text.splitlines() if line.startswith("### ")]
  assert headings[:3] == ["wrong type", "wrong boundary", "wrong both"]
  assert headings[3:] == ["missed", "false", "correct"]
  assert (
    "### wrong boundary\n\n- gold `` Old Yo`rk* `` place, predicted `Old` "
    "place: `` ... Byron met Mary of New South Wales in Old Yo`rk* `` (unseen, "
    "a.tsv:7)\n"
  ) in text
  assert "### false\n\nNone.\n" in text
  assert "/home" not in text


def test_nothing_there(tmp_path):
  for gold, predicted in (([], []), ([], [Span(0, 1, "a")])):
    found = analyse(gold, predicted)
    assert found["recall"]["by_words"]["1"]["gold"] == 0
    error_analysis.write(found, tmp_path, "dev")
  empty = error_analysis.analyse([], [], [])
  assert empty["confusion"] == {"types": [], "table": [[0]]}
  error_analysis.write(empty, tmp_path, "dev")
  assert "None." in (tmp_path / "errors-dev.md").read_text()


def test_written_files(tmp_path):
  analysis = example_analysis()
  error_analysis.write(analysis, tmp_path, "test")
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["errors-test.md", "errors-test.png"]
  text = (tmp_path / "errors-test.md").read_text()
  assert text == error_analysis.markdown(analysis)
  picture = (tmp_path / "errors-test.png").read_bytes()
  assert picture.startswith(b"\x89PNG")
  # Neither the time nor the program is in it.
  assert b"tEXt" not in picture
  assert b"tIME" not in picture
  error_analysis.draw_confusion(analysis, tmp_path / "again.png")
  assert (tmp_path / "again.png").read_bytes() == picture
  # The same shares of the row, so that only the numbers are others.
  first_row = analysis["confusion"]["table"][0]
  analysis["confusion"]["table"][0] = [2 * count for count in first_row]
  error_analysis.draw_confusion(analysis, tmp_path / "again.png")
  assert (tmp_path / "again.png").read_bytes() != picture
  with pytest.raises(UserError, match="cannot be written"):
    error_analysis.write(analysis, tmp_path / "nowhere", "test")
  with pytest.raises(UserError, match="cannot be written"):
    error_analysis.draw_confusion(analysis, tmp_path / "nowhere" / "a.png")


@pytest.mark.parametrize("types", [6, 18])
def test_the_picture_stays_small(tmp_path, types):
  # A dollar sign starts no formula.
  labels = [f"$type_with_a_name_{i}$" for i in range(types)]
  table = [[i * j * 97 for j in range(types + 1)] for i in range(types + 1)]
  path = tmp_path / "a.png"
  error_analysis.draw_confusion(
    {"confusion": {"types": labels, "table": table}}, path
  )
  data = path.read_bytes()
  width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
  assert 300 < width < 1300
  assert 300 < height < 1300
  assert len(data) < 400_000
