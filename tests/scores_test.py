"""A file of predictions beside a gold file."""

import json
import pathlib
import subprocess
import sys

import pytest

from splitner_jax.data import formats
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import metrics, scores
from splitner_jax.runtime.errors import UserError
from tests import runs

GOLD = [
  Sentence(("Ada", "Byron", "met", "Bo"), (Span(0, 2, "P"), Span(3, 4, "P"))),
  Sentence(("nothing", "here")),
  Sentence(("in", "Oslo"), (Span(1, 2, "L"),)),
]
PREDICTED = [
  [ScoredSpan(0, 2, "P", 0.9), ScoredSpan(3, 4, "L", 0.5)],
  [ScoredSpan(1, 2, "L", 0.4)],
  [],
]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  """The same sentences and predictions in every way that they are written."""
  formats.write_columns(tmp_path / "gold.tsv", GOLD)
  formats.write_jsonl(tmp_path / "gold.jsonl", GOLD)
  formats.write_columns(tmp_path / "run.tsv", GOLD, PREDICTED)
  formats.write_jsonl(tmp_path / "run.jsonl", GOLD, PREDICTED)
  said = [
    Sentence(sentence.words, tuple(span.span for span in row))
    for sentence, row in zip(GOLD, PREDICTED, strict=True)
  ]
  formats.write_columns(tmp_path / "said.tsv", said)
  # As `splitner predict` writes them, with what else the input had.
  records = [
    {
      "id": 7,
      "pos": "of no use",
      "tokens": sentence.words,
      "entities": [
        {**span._asdict(), "text": " ".join(sentence.words[:2])} for span in row
      ],
    }
    for sentence, row in zip(GOLD, PREDICTED, strict=True)
  ]
  (tmp_path / "said.jsonl").write_text(
    "".join(json.dumps(record) + "\n" for record in records)
  )
  return tmp_path


@pytest.mark.parametrize("gold", ["gold.tsv", "gold.jsonl", "run.jsonl"])
@pytest.mark.parametrize(
  "predicted", ["run.tsv", "run.jsonl", "said.tsv", "said.jsonl"]
)
def test_each_form_has_the_same_scores(
  folder: pathlib.Path, gold: str, predicted: str
) -> None:
  found = scores.score_files(str(folder / gold), str(folder / predicted))
  spans = [s.spans for s in GOLD]
  counts = metrics.counts_per_sentence(spans, PREDICTED)
  assert found["all_sentences"] == metrics.score(spans, PREDICTED)
  assert found["all_sentences"]["correct"] == 1
  assert found["detection"]["correct"] == 2
  assert found["interval"] == [*metrics.bootstrap_interval(counts)]
  assert found["per_sentence"]["predicted"] == "2 1 0"
  assert (found["sentences"], found["gold_mentions"]) == (3, 3)
  errors = found["errors"]
  assert errors["categories"] == {
    "correct": {"all": 1},
    "wrong_type": {"all": 1},
    "wrong_boundary": {"all": 0},
    "wrong_both": {"all": 0},
    "missed": {"all": 1},
    "false": {"all": 1},
  }
  assert errors["recall"].keys() == {"by_words"}
  assert errors["confusion"]["types"] == ["L", "P"]


def test_with_what_was_trained_on(folder: pathlib.Path) -> None:
  train = folder / "train.tsv"
  train.write_text("oslo\tB-L\n")
  files = [str(folder / name) for name in ("gold.tsv", "said.tsv", "train.tsv")]
  found = scores.score_files(*files)
  assert found["errors"]["categories"]["missed"] == {"seen": 1, "unseen": 0}
  assert found["errors"]["recall"]["by_seen"]["unseen"]["gold"] == 2
  text = scores.markdown(found)
  assert "| seen | unseen | all |" in text
  assert "gold mentions in training" in text


def test_the_page(folder: pathlib.Path) -> None:
  files = [str(folder / name) for name in ("gold.tsv", "said.tsv")]
  text = scores.markdown(scores.score_files(*files))
  assert text.startswith(
    f"{files[1]} beside {files[0]}: 3 sentences, 3 gold mentions. "
  )
  rows = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in text.splitlines()
    if line.startswith("|")
  ]
  figures = ["3", "3", "1", "33.33", "33.33", "33.33"]
  assert ["all sentences", *figures] in rows
  figures = ["3", "3", "2", "66.67", "66.67", "66.67"]
  assert ["spans, whatever their type", *figures] in rows
  assert ["L", "1", "2", "0", "0.00", "0.00", "0.00"] in rows
  assert ["false", "prediction without gold", "1"] in rows
  assert "in training" not in text
  assert "unseen" not in text


def test_a_type_that_would_end_a_cell(tmp_path: pathlib.Path) -> None:
  for name in ("gold.tsv", "said.tsv"):
    (tmp_path / name).write_text("Ada\tB-A|B\nlives\tO\n\n")
  files = [str(tmp_path / name) for name in ("gold.tsv", "said.tsv")]
  text = scores.markdown(scores.score_files(*files))
  [head] = [x for x in text.splitlines() if x.startswith("| type")]
  [row] = [x for x in text.splitlines() if x.startswith("| A")]
  assert row.startswith("| A\\|B |")
  # In Markdown a bar behind a backslash is text.
  assert row.replace("\\|", "").count("|") == head.count("|")


def test_columns_are_chosen(folder: pathlib.Path) -> None:
  path = str(folder / "run.tsv")
  found = scores.score_files(path, path, gold_column=1)
  assert found["all_sentences"]["correct"] == 1
  # The last column of three, from either side.
  for columns in ({}, {"gold_column": 2}, {"predicted_column": 2}):
    with pytest.raises(UserError, match=r"run.tsv: gold and predicted tags ar"):
      scores.score_files(path, path, **columns)
  same = str(folder / "run.jsonl")
  assert scores.score_files(same, same)["all_sentences"]["correct"] == 1


def test_columns_of_a_file_in_which_no_row_is_sure(
  tmp_path: pathlib.Path,
) -> None:
  """Each may be a comment, so that nobody knows how many columns there are."""
  (tmp_path / "a.tsv").write_text("#a\tB-x\tB-x\n-b\tO\tB-x\n")
  path = str(tmp_path / "a.tsv")
  found = scores.score_files(path, path, gold_column=1)
  assert found["all_sentences"]["predicted"] == 2
  with pytest.raises(UserError, match="are in the same column of one file"):
    scores.score_files(path, path)


def test_one_file_without_predictions(folder: pathlib.Path) -> None:
  (folder / "a.gold_conll").touch()
  with (folder / "run.jsonl").open("a") as file:
    file.write('{"tokens": ["in", "Oslo"], "entities": []}\n')
  for name in ("gold.jsonl", "run.jsonl", "a.gold_conll"):
    path = str(folder / name)
    with pytest.raises(UserError, match="one file for both, without 'predict"):
      scores.score_files(path, path)


@pytest.mark.parametrize(
  ("old", "new", "said"),
  [
    (
      "Byron",
      "Bayron",
      "said.tsv:1: sentence 1 has 'Bayron' as its word 2, but {}:1 has 'Byron'",
    ),
    ("here\tB-L\n", "", "said.tsv:6: sentence 2 has 1 words, but {}:6 has 2;"),
    (
      "\nin\tO\nOslo\tO\n",
      "",
      "said.tsv: has 2 sentences, but {} has 3; give predictions of all",
    ),
    ("here\tB-L", "here\tI-L", "said.tsv:7: I-L continues no mention of L; "),
  ],
)
def test_files_that_do_not_match(
  folder: pathlib.Path, old: str, new: str, said: str
) -> None:
  path, gold = folder / "said.tsv", folder / "gold.tsv"
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))
  with pytest.raises(UserError) as caught:
    scores.score_files(str(gold), str(path))
  assert str(caught.value).startswith(f"{folder}/{said.format(gold)}")
  assert "\n" not in str(caught.value)


def _score(*arguments: object) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "splitner_jax.score", *map(str, arguments)],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


def test_the_command(folder: pathlib.Path) -> None:
  gold, said = folder / "gold.tsv", folder / "said.jsonl"
  process = _score(gold, said, f"--json={folder / 'scores.json'}")
  assert process.returncode == 0, process.stderr
  found = scores.score_files(str(gold), str(said))
  assert process.stdout == scores.markdown(found) + "\n"
  written = json.loads((folder / "scores.json").read_text())
  assert written == json.loads(json.dumps(found))


def test_mistakes_are_one_line(folder: pathlib.Path) -> None:
  gold = folder / "gold.tsv"
  for arguments, said in {
    (gold,): "give two files: splitner score gold.tsv predicted.tsv",
    (gold, gold, gold): "unexpected argument",
    (gold, folder / "no"): f"{folder}/no: no such file",
    (gold, gold, "--gold_column=x"): "flag --gold_column=x: invalid literal",
    (gold, folder / "run.tsv", f"--json={folder}"): f"{folder}: cannot be wri",
  }.items():
    process = _score(*arguments)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {said}"), process.stderr
    assert process.stderr.count("\n") == 1
