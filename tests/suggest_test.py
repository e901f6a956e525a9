"""What to annotate next: decisions of both steps, measures, the command."""

import io
import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax import SplitNER
from splitner_jax.commands import predict, suggest
from splitner_jax.data.sentences import Sentence
from splitner_jax.inference import pipeline, suggesting
from splitner_jax.inference.documents import Row
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.base import Decision
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS
from tests import tiny, tiny_system, tiny_tasks

ROOT = pathlib.Path(__file__).parents[1]


# Decisions.


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


def _decisions(
  tokenizer: Tokenizer,
  words: np.ndarray,
  types: np.ndarray,
  decoding: Decoding | None = None,
) -> list[list[Decision]]:
  """Of SplitNER about three words, and a sentence without any.

  Args:
    tokenizer: of both tasks.
    words: float[3, 4], probabilities of O, B, I, E.
    types: float[N, 2], of the types.
    decoding: of both.
  """
  tasks = {
    "detector": tiny_tasks.detector(tokenizer),
    "classifier": tiny_tasks.classifier(tokenizer),
  }
  sentences = [Sentence(()), Sentence(("Ada", "Bo", "is"))]
  kind, decoding = SYSTEMS["splitner"], decoding or Decoding()
  reading = kind.read(
    tasks,
    {
      "detector": lambda _: np.log(words),
      "classifier": lambda _: np.log(types),
    },
    sentences,
    kind.encode(tasks, sentences),
    [decoding.outside_bias],
  )
  return kind.decisions(tasks, reading, decoding)


_MENTION = np.array(
  [[0.1, 0.7, 0.1, 0.1], [0.1, 0.2, 0.1, 0.6], [0.8, 0.1, 0.05, 0.05]]
)


def test_both_steps_decide(tokenizer: Tokenizer):
  empty, found = _decisions(tokenizer, _MENTION, np.array([[0.2, 0.8]]))
  assert empty == []
  assert [d[:4] for d in found] == [
    ("detector", 0, 1, "B"),
    ("detector", 1, 2, "E"),
    ("detector", 2, 3, "O"),
    ("classifier", 0, 2, "person"),
  ]
  assert [d.probability for d in found] == pytest.approx([0.7, 0.6, 0.8, 0.8])


def test_decisions_are_those_of_the_decoding(tokenizer: Tokenizer):
  # More readily found: of the third word B, another span; types less sure.
  decoding = Decoding(outside_bias=math.log(1 / 16), temperature=2.0)
  types = np.array([[0.2, 0.8], [0.9, 0.1]])
  _, found = _decisions(tokenizer, _MENTION, types, decoding)
  assert [d.answer for d in found] == ["B", "E", "B", "person", "location"]
  assert found[2].probability == pytest.approx(0.1 / (0.05 + 0.2))
  assert found[3].probability == pytest.approx(2 / 3)  # 4:1 is 2:1.
  assert found[4].probability == pytest.approx(3 / 4)


@pytest.mark.parametrize("step", ["detector", "classifier"])
def test_either_step_makes_a_sentence_uncertain(
  tokenizer: Tokenizer, step: str
):
  sure_words = np.where(_MENTION > 0.5, 0.97, 0.01)
  sure_types = np.array([[0.01, 0.99]])
  unsure = {
    "detector": (_MENTION, sure_types),
    "classifier": (sure_words, np.array([[0.45, 0.55]])),
  }
  _, sure = _decisions(tokenizer, sure_words, sure_types)
  _, found = _decisions(tokenizer, *unsure[step])
  for measure in suggesting.MEASURES:
    before = suggesting.uncertainty(sure, 3, measure)
    assert suggesting.uncertainty(found, 3, measure) > 2 * before
  least = min(found, key=lambda d: d.probability)
  assert least.task == step


def test_each_question_decides_about_each_word(tokenizer: Tokenizer):
  settings = tiny_tasks.settings("tagger", features="none")
  task = tiny_tasks.tasks.type_questions(
    settings, tiny_tasks.ENCODER, tokenizer, tiny_tasks.TYPES, {}
  )
  sentences = [Sentence(("Ada", "is"))]
  kind, tasks = SYSTEMS["single_qa"], {"tagger": task}

  def forward(examples: Examples) -> np.ndarray:
    assert len(examples) == 2
    rows = np.full((4, 4), 0.1)
    rows[[0, 1, 2, 3], [0, 0, 1, 0]] = 0.7
    return np.log(rows)

  examples = kind.encode(tasks, sentences)
  reading = kind.read(tasks, {"tagger": forward}, sentences, examples, [0.0])
  [found] = kind.decisions(tasks, reading, Decoding())
  assert [(d.start, d.answer) for d in found] == [
    (0, "location: O"),
    (1, "location: O"),
    (0, "person: B"),
    (1, "person: O"),
  ]


# Measures.


def _about(*probabilities: float) -> list[Decision]:
  return [Decision("detector", 0, 1, "O", p) for p in probabilities]


def test_measures():
  decisions, words = _about(0.5, 1.0, 0.25), 2
  ln2 = math.log(2)
  assert suggesting.uncertainty(decisions, words) == pytest.approx(1.5 * ln2)
  figures = {"mean": 1.5 * ln2, "sum": 3 * ln2, "max": 2 * ln2}
  for measure, figure in figures.items():
    found = suggesting.uncertainty(decisions, words, measure)
    assert found == pytest.approx(figure)
    assert suggesting.uncertainty([], 0, measure) == 0.0
    sure = suggesting.uncertainty(_about(1.0, 1.0), 2, measure)
    assert math.copysign(1, sure) == 1
    assert sure == 0
    # Not infinite: JSON has no such number.
    assert suggesting.uncertainty(_about(0.0), 1, measure) < 100


def test_a_text_that_says_all_twice_is_as_uncertain():
  once, twice = _about(0.5, 0.9), _about(0.5, 0.9, 0.5, 0.9)
  for measure, factor in {"mean": 1, "max": 1, "sum": 2}.items():
    assert suggesting.uncertainty(twice, 4, measure) == pytest.approx(
      factor * suggesting.uncertainty(once, 2, measure)
    )


# Ranks.


class Numbers(tiny_system.Capitals):
  """Says of each word with which probability it is O: the word says it."""

  def decisions(self, sentences: Sequence[Sentence]) -> list[list[Decision]]:
    self.words.append(sum(len(s.words) for s in sentences))
    return [
      [
        Decision("detector", i, i + 1, "O", float(f"0.{word}"))
        for i, word in enumerate(sentence.words)
      ]
      for sentence in sentences
    ]


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> Numbers:
  found = Numbers()
  monkeypatch.setattr(
    pipeline.SplitNER,
    "from_pretrained",
    lambda _, **options: SplitNER(found, **options),  # type: ignore[arg-type]
  )
  return found


def _suggest(data: str, name: str = "x.txt", **options) -> list[dict]:
  source = io.BytesIO(data.encode())
  return [json.loads(x) for x in suggest.suggest("m", source, name, **options)]


def _texts(rows: Sequence[dict]) -> list[str]:
  return [row["text"] for row in rows]


@pytest.mark.usefixtures("numbers")
def test_ranks_by_the_measure():
  # Of ten words one is unsure; all of few are somewhat; one is sure.
  long, short, sure = "95 " * 9 + "2", "6 6", "99"
  data = f"{sure}\n\n{long}\n{short}\n"
  assert _texts(_suggest(data)) == [short, long, sure, ""]
  assert _texts(_suggest(data, measure="sum")) == [long, short, sure, ""]
  assert _texts(_suggest(data, measure="max")) == [long, short, sure, ""]
  rows = _suggest(data, top=2)
  assert _texts(rows) == [short, long]
  assert rows[0]["uncertainty"] == pytest.approx(-math.log(0.6), abs=1e-6)


@pytest.mark.usefixtures("numbers")
def test_of_equals_the_first_is_first():
  data = "".join(
    json.dumps({"tokens": [word], "id": i}) + "\n"
    for i, word in enumerate(["5", "9", "5", "2", "9", "5"])
  )
  rows = _suggest(data, "x.jsonl")
  assert [row["id"] for row in rows] == [3, 0, 2, 5, 1, 4]
  assert _suggest(data, "x.jsonl", top=3) == rows[:3]
  assert _suggest(data, "x.jsonl", top=99) == rows


@pytest.mark.usefixtures("numbers")
def test_says_what_is_unsure_where():
  [row] = _suggest("8 95\u00a07\n")
  assert row["unsure"] == [
    {
      "start": start,
      "end": start + 1,
      "task": "detector",
      "answer": "O",
      "probability": probability,
      "text": text,
    }
    for start, probability, text in [(5, 0.7, "7"), (0, 0.8, "8")]
  ]
  [row] = _suggest('{"tokens": ["95", "8"]}', "x.jsonl")
  [unsure] = row["unsure"]
  assert (unsure["start"], unsure["end"], unsure["text"]) == (1, 2, "8")


@pytest.mark.usefixtures("numbers")
def test_nothing_in_it():
  assert _suggest("") == []
  rows = _suggest('{"tokens": []}\n{"text": ""}\n', "x.jsonl")
  assert [row["uncertainty"] for row in rows] == [0, 0]
  assert [row["unsure"] for row in rows] == [[], []]


def test_texts_are_read_together_but_not_all(numbers: Numbers):
  _suggest("5 5 5\n" * 8000)
  assert sum(numbers.words) == 24_000
  assert 2 < len(numbers.words) < 8
  assert max(numbers.words) <= 10_002


@pytest.mark.usefixtures("numbers")
def test_broken_lines(capfd):
  data = '{"text": "5"}\n{"text": \n{"text": "2", "id": 7}\n'
  with pytest.raises(UserError, match=r"^x.jsonl:2: cannot be read"):
    _suggest(data, "x.jsonl")
  rows = _suggest(data, "x.jsonl", skip_errors=True)
  assert [row.get("id") for row in rows] == [7, None]
  assert "skipped 1 lines of x.jsonl" in capfd.readouterr().err


# The command.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tiny_system.save(tmp_path_factory.mktemp("model"))


def start(*arguments: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-m", "splitner_jax.suggest", *arguments],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    encoding="utf-8",
    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
  )


def test_from_file_to_file(model: pathlib.Path, tmp_path: pathlib.Path):
  texts = ["ada likes oslo .", "", "bo", "is ada . bo likes oslo ."]
  source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
  source.write_text("\n".join(texts) + "\n")
  process = start(
    f"--model={model}", f"--input={source}", f"--output={target}", "--top=3"
  )
  out, err = process.communicate()
  assert (process.returncode, out, err) == (0, "", "")
  rows = [json.loads(line) for line in target.read_text().splitlines()]

  ner = SplitNER.from_pretrained(str(model))
  ranked = suggesting.rank(ner, [Row(t, {}, len(t) + 1) for t in texts])
  assert _texts(rows) == [s.row.content for s in ranked][:3]
  assert [s.uncertainty for s in ranked] == pytest.approx(
    [row["uncertainty"] for row in rows] + [0.0], rel=1e-4
  )
  assert {u["task"] for r in rows for u in r["unsure"]} == {
    *("detector", "classifier")
  }
  # What tags it keeps the order and says what was unsure.
  tagged = [
    json.loads(x)
    for x in predict.tag(
      str(model), io.BytesIO(target.read_bytes()), "out.jsonl"
    )
  ]
  assert [
    {**row, "entities": tagged[i]["entities"]} for i, row in enumerate(rows)
  ] == tagged


def test_mistakes_are_one_line(model: pathlib.Path, tmp_path: pathlib.Path):
  text = tmp_path / "in.txt"
  text.write_text("a\n")
  cases = {
    "--model is missing": [],
    f"{tmp_path}: no model of splitner_jax": [f"--model={tmp_path}"],
    "flag --measure=most": [f"--model={model}", "--measure=most"],
    "flag --top=0": [f"--model={model}", "--top=0"],
    "unexpected argument 'x'": [f"--model={model}", "x"],
    f"--output: {tmp_path} is a folder": [
      f"--model={model}",
      f"--output={tmp_path}",
    ],
    "No such file": [f"--model={model}", f"--input={tmp_path}/no"],
    f"{text}/x: cannot be written": [
      f"--model={model}",
      f"--input={text}",
      f"--output={text}/x",
    ],
  }
  processes = {part: start(*args) for part, args in cases.items()}
  for part, process in processes.items():
    out, err = process.communicate("")
    assert process.returncode == 1, part
    assert out == ""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert part in err
