"""Scores of raw text, by a stand-in that finds capitalised words."""

import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.experiment import raw_text
from splitner_jax.inference.pipeline import SplitNER
from tests.tiny_system import Capitals


@pytest.fixture
def ner() -> SplitNER:
  return SplitNER(Capitals())  # type: ignore[arg-type]


def test_places_are_characters(ner: SplitNER):
  sentences = [
    Sentence(("a", "Big", "Deal", "!"), (Span(1, 3, "name"),)),
    # Of another type; and one that nobody finds.
    Sentence(("Rome", "or", "rome"), (Span(0, 1, "x"), Span(2, 3, "name"))),
  ]
  scores = raw_text.score(ner, sentences)
  assert (scores["gold"], scores["predicted"], scores["correct"]) == (3, 2, 1)
  assert scores["per_type"]["name"]["correct"] == 1
  assert scores["lost_to_splitting"] == 0


def test_mentions_that_splitting_loses(ner: SplitNER):
  sentences = [
    # The corpus has one word, the text two, of which the first is the mention.
    Sentence(("Ana's", "dog"), (Span(0, 1, "name"),)),
    # The text has an end of a sentence in the mention.
    Sentence(("So", "said", "Who", "?", "Me", "too"), (Span(2, 5, "name"),)),
    # The corpus has two words where the text has one.
    Sentence(("x", "3", "km"), (Span(1, 3, "name"),)),
  ]
  split = [len(list(ner.sentences(s.text))) for s in sentences]
  assert split == [1, 2, 1]
  assert raw_text.score(ner, sentences)["lost_to_splitting"] == 1
  inside = Sentence(("well-", "Known"), (Span(0, 1, "name"),))
  inside_word = [inside, Sentence(("U.", "S."), (Span(1, 2, "name"),))]
  assert raw_text.score(ner, inside_word)["lost_to_splitting"] == 0
