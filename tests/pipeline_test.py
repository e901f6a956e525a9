"""Text in, entities out."""

import pathlib
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest

from splitner_jax import Entity, SplitNER
from splitner_jax.data.sentences import Sentence
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs.examples import Example, Examples
from splitner_jax.runtime import buckets, files
from splitner_jax.runtime.compilation import compile_clock
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from tests import tiny_system, tiny_tasks
from tests.text_test import random_texts
from tests.tiny_system import Capitals


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return tiny_system.make(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="module")
def ner(trained: NerModel) -> SplitNER:
  return SplitNER(trained)


def fake(**fields) -> tuple[SplitNER, Capitals]:
  capitals = Capitals(**fields)
  return SplitNER(capitals), capitals  # type: ignore[arg-type]


def test_import_does_not_wait_for_jax():
  code = (
    "import sys, splitner_jax; from splitner_jax import SplitNER, Entity;"
    "assert 'jax' not in sys.modules and 'absl.flags' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_entities_of_a_text():
  ner, _ = fake()
  text = "so \U0001f600 Ana Bo left.\n\nTo OSLO\u2019s \u00c9va\u0301"
  [entities] = ner.predict(text)
  assert entities == [
    Entity("Ana Bo", "name", 5, 11, 0.6),
    Entity("To OSLO", "name", 19, 26, 0.6),
    Entity("\u00c9va\u0301", "name", 29, 33, 0.5),
  ]
  assert all(e.text == text[e.start : e.end] for e in entities)


def test_entities_of_words():
  ner, _ = fake()
  words = ["so", "Ana", "B. o", "\U0001f600", "OSLO"]
  [entities] = ner.predict([words])
  assert entities == [
    Entity("Ana B. o", "name", 3, 11, 0.6, 1, 3),
    Entity("OSLO", "WORLD", 14, 18, 0.5, 4, 5),
  ]
  assert all(e.text == " ".join(words)[e.start : e.end] for e in entities)


def test_offsets_of_random_texts():
  ner, _ = fake()
  texts = random_texts(2000)
  found = ner.predict(texts)
  assert sum(map(len, found)) > 1000
  for text, entities in zip(texts, found, strict=True):
    at = 0
    for entity in entities:
      assert entity.text == text[entity.start : entity.end]
      assert at <= entity.start < entity.end
      at = entity.end


def test_thresholds():
  ner, _ = fake(decoding=Decoding(thresholds=Thresholds(0.55, {"WORLD": 0.1})))
  texts = ["Ana, so Bo Ek, OSLO"]
  labels = [e.text for e in ner.predict(texts)[0]]
  assert labels == ["Bo Ek", "OSLO"]
  assert len(ner.predict(texts, threshold=0)[0]) == 3
  assert ner.predict(texts, threshold=0.9) == [[]]


@pytest.mark.parametrize(
  ("choice", "error"),
  [
    ({"threshold": 95}, "threshold: 95 is no score; give one from 0 to 1"),
    ({"threshold": -0.1}, "threshold: -0.1 is no score"),
    ({"threshold": float("nan")}, "threshold: nan is no score"),
    ({"labels": []}, "labels: is empty; name a type"),
  ],
)
def test_a_choice_that_leaves_nothing(choice: dict, error: str):
  ner, _ = fake()
  with pytest.raises(UserError, match=f"^{error}"):
    ner.predict("Ana", **choice)
  for edge in (0, 1):
    ner.predict("Ana", threshold=edge)


def test_entities_of_some_types():
  ner, _ = fake()
  text = "Ana, so Bo Ek, OSLO"
  assert [e.text for e in ner.predict(text, labels=["WORLD"])[0]] == ["OSLO"]
  assert [e.text for e in ner.predict(text, labels="name")[0]] == [
    "Ana",
    "Bo Ek",
  ]
  with pytest.raises(UserError, match="labels: 'city' is none of the model's"):
    ner.predict(text, labels=["name", "city"])


def test_a_stream_of_a_single_string_is_one_text():
  ner, _ = fake()
  assert list(ner.stream("so Ana Bo left")) == ner.predict("so Ana Bo left")


def test_a_stream_reads_ahead_by_a_bounded_amount():
  ner, capitals = fake(seconds=0.1)
  read = 0

  def texts():
    nonlocal read
    for i in range(30_000):
      read += 1
      # One text with words, then many without.
      yield "Ana so so so" if i % 10 == 0 or i < 9000 else ""

  most = 0
  for i, entities in enumerate(ner.stream(texts())):
    assert bool(entities) == (i % 10 == 0 or i < 9000)
    most = max(most, read - i)
  assert i == 29_999
  assert most < 33_000 / 2
  assert max(capitals.words) <= 32_000
  # The first come soon.
  read = 0
  next(ner.stream(texts()))
  assert read < 500


def test_a_text_of_a_megabyte():
  ner, capitals = fake()
  text = "Ana went to Oslo bay, said Bo. " * 33_000
  assert len(text) > 1_000_000
  [entities] = ner.predict(text)
  assert len(entities) == 3 * 33_000
  assert all(e.text == text[e.start : e.end] for e in entities[::997])
  assert max(capitals.words) < 33_000


@pytest.mark.parametrize(
  ("texts", "message"),
  [
    ([3], "text 0: is 3, neither a string nor a list of words"),
    (["a", [1]], "text 1: word 0 is 1"),
    ([["a", ""]], "text 0: word 1 is ''"),
    ([None], "text 0: is None"),
  ],
)
def test_what_is_no_text(texts, message: str):
  ner, _ = fake()
  with pytest.raises(UserError, match=message):
    ner.predict(texts)


def test_batch_size(ner: SplitNER):
  with pytest.raises(UserError, match="below the least, 1"):
    ner.predict("a", batch_size=0)


TEXTS = ["ada likes so so oslo bay .", "bo is in rome", "eve", "#x 12 @y"]


def test_alone_in_a_batch_and_in_a_stream(ner: SplitNER):
  texts = [f"{TEXTS[i % 4]} {'so ' * (i % 3)}{i}" for i in range(64)]
  together = ner.predict(texts)
  assert 16 < sum(map(len, together)) < 400
  streamed = list(ner.stream(iter(texts)))
  few = [ner.predict(text)[0] for text in texts[:8]]
  for one, other in [
    *zip(together, streamed, strict=True),
    *zip(together, few, strict=False),
  ]:
    assert [e[:4] for e in one] == [e[:4] for e in other]
    np.testing.assert_allclose(
      [e.score for e in one], [e.score for e in other], atol=1e-4
    )


def test_a_sentence_as_text_and_as_words(ner: SplitNER):
  [text], [words] = ner.predict(TEXTS[0]), ner.predict([TEXTS[0].split()])
  assert [e[:4] for e in text] == [e[:4] for e in words]
  assert all(e.first_word is None for e in text)
  for entity in words:
    part = TEXTS[0].split()[entity.first_word : entity.end_word]
    assert " ".join(part) == entity.text


def test_odd_texts(ner: SplitNER):
  odd = ["", " \t\n", "x" * 10_000, "\ud83d", "\x00", [], ["\x00", "\ud83d"]]
  found = ner.predict(odd)
  assert len(found) == len(odd)
  for text, entities in zip(odd, found, strict=True):
    source = text if isinstance(text, str) else " ".join(text)
    assert all(e.text == source[e.start : e.end] for e in entities)
  assert found[0] == found[1] == found[4] == found[5] == []
  assert ner.predict([]) == []


def test_save_and_load(
  ner: SplitNER, trained: NerModel, tmp_path: pathlib.Path
):
  ner.save_pretrained(str(tmp_path / "model"))
  loaded = SplitNER.from_pretrained(str(tmp_path / "model"))
  assert loaded.labels == tiny_system.TYPES
  assert loaded.predict(TEXTS[0]) == ner.predict(TEXTS[0])


def test_the_folder_of_a_user(
  ner: SplitNER, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  """What no shell has expanded is none of the name ~."""
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.chdir(tmp_path)
  ner.save_pretrained("~/model")
  assert SplitNER.from_pretrained("~/model").labels == tiny_system.TYPES
  files.atomic_write("~/a.txt", ["a"])
  with files.atomic_folder("~/b") as folder:
    (folder / "a.txt").touch()
  with buckets.opened("~/run") as (folder, _):
    assert folder == tmp_path / "home" / "run"
  assert {x.name for x in (tmp_path / "home").iterdir()} == {
    *("a.txt", "b", "model")
  }
  assert [x.name for x in tmp_path.iterdir()] == ["home"]


def test_push_to_hub(ner: SplitNER, monkeypatch: pytest.MonkeyPatch):
  pushed = {}

  def upload_folder(repo_id, folder_path, delete_patterns):
    pushed[repo_id] = model_folder.load(folder_path).labels

  monkeypatch.setattr(huggingface_hub, "create_repo", lambda *_, **__: None)
  monkeypatch.setattr(huggingface_hub, "upload_folder", upload_folder)
  ner.push_to_hub("someone/model")
  assert pushed == {"someone/model": tiny_system.TYPES}

  def refuse(*_, **__):
    raise OSError("no\nnetwork")

  monkeypatch.setattr(huggingface_hub, "create_repo", refuse)
  with pytest.raises(UserError, match=r"uploaded \(OSError: no network"):
    ner.push_to_hub("someone/model")


class Windows:
  """A detector whose logits depend on the tokens nearby, in its window."""

  def __init__(self, reach: int):
    self.reach = reach
    self.lengths: list[int] = []

  def __call__(self, examples: Examples) -> np.ndarray:
    return np.concatenate([self._logits(e) for e in examples])

  def _logits(self, example: Example) -> np.ndarray:
    n = len(example.ids)
    self.lengths.append(n)
    ids = np.pad(example.ids.astype(int), self.reach)
    # Mixes what is within reach: another edge, other logits.
    mixed = sum(
      (ids[i : i + n] * (7 * i + 3)) % 11 for i in range(2 * self.reach + 1)
    )
    logits = np.stack([2.5 * (mixed % 2), mixed % 7, mixed % 3, mixed % 4])
    return logits.T[example.targets].astype(np.float32)


def test_shifting_the_windows_changes_few_mentions(trained: NerModel):
  detector = trained.tasks["detector"]
  rng = np.random.default_rng(0)
  letters = list("abcdefghijklmnopqrstuvwxyz")
  words = tuple("".join(rng.choice(letters, 4)) for _ in range(2000))
  run = Windows(reach=20)

  def mentions(drop: int) -> set[tuple[int, int]]:
    [spans] = tiny_tasks.detect(detector, run, [Sentence(words[drop:])])
    found = {(s.start + drop, s.end + drop) for s in spans}
    return {(a, b) for a, b in found if a >= 100}

  whole = mentions(0)
  assert len(whole) > 200
  assert max(run.lengths) <= 200
  for drop in (1, 7, 31, 50):
    assert len(whole ^ mentions(drop)) <= 0.02 * len(whole)


def test_no_mention_is_cut_at_the_edge_of_a_window(trained: NerModel):
  detector = trained.tasks["detector"]
  # Mentions of six words; which words are in one shows in the tokens alone.
  words = tuple([*"biiiieooo"] * 222)

  def run(examples: Examples) -> np.ndarray:
    ids = examples.ids[examples.target_tokens()]
    return 5.0 * np.eye(4, dtype=np.float32)[label_of[ids]]

  ids = detector.tokenizer([["o", "b", "i", "e"]]).ids[:4]
  label_of = np.zeros(ids.max() + 1, int)
  label_of[ids] = range(4)
  [spans] = tiny_tasks.detect(detector, run, [Sentence(words)])
  assert [(s.start, s.end) for s in spans] == [
    (i, i + 6) for i in range(0, len(words), 9)
  ]


@pytest.mark.parametrize("features", ["none", "both"])
def test_warming_up_leaves_nothing_to_compile(
  features: str, tmp_path: pathlib.Path
):
  made = tiny_system.make(tmp_path, features=features)
  texts = ["ada likes oslo", *TEXTS * 30, "so " * 300]
  ner = SplitNER(made, batch_size=8)
  ner.warm_up()
  compiled = compile_clock.seconds
  found = ner.predict(texts) + ner.predict(TEXTS[0], batch_size=1)
  # Without features this one finds mentions, and asks the classifier.
  assert features == "both" or sum(map(len, found)) > 50
  assert compile_clock.seconds == compiled
  # Which it counts.
  SplitNER(made, batch_size=16).predict(TEXTS[0])
  assert compile_clock.seconds > compiled


def test_a_stream_that_is_left_early(ner: SplitNER):
  found = ner.stream(TEXTS[i % 4] for i in range(100_000))
  first = next(found)
  found.close()
  [again] = ner.predict(TEXTS[0])
  assert [e[:4] for e in again] == [e[:4] for e in first]


def test_an_error_in_the_model_is_raised_where_texts_are_read():
  ner, capitals = fake()

  def fail(sentences):
    raise ZeroDivisionError

  capitals.encode = fail
  with pytest.raises(ZeroDivisionError):
    ner.predict("Ana")


def test_sentences_of_several_texts_at_once():
  ner, capitals = fake(decoding=Decoding(thresholds=Thresholds(0.9)))
  texts = ["Ana left. Bo Ek\ud83d too.", "so OSLO"]
  rows = [words for text in texts for words in ner.sentences(text)]
  assert ner.model is capitals  # type: ignore[comparison-overlap]
  assert [[(*m,) for m, _ in row] for row in ner.mentions(rows)] == [
    [(0, 1, "name", 0.5)],
    [(0, 2, "name", 0.6)],
    [(1, 2, "WORLD", 0.5)],
  ]
  assert capitals.words == [10]
  assert "\ufffd" in [word.text for word in rows[1]]


def test_a_threshold_is_of_the_whole_score(ner: SplitNER):
  """Of the span's probability times the type's, not of the first alone."""
  texts = ["ada likes oslo . bo a b", "so it was in oslo bay ."]
  everything = ner.predict(texts, threshold=0)
  scores = sorted(entity.score for row in everything for entity in row)
  assert scores
  for score in scores:
    kept = [[e for e in row if e.score >= score] for row in everything]
    assert ner.predict(texts, threshold=score) == kept
