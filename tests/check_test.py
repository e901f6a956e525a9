"""The report on a corpus: its figures, and each thing it should notice."""

import pathlib

import pytest

from splitner_jax.data import corpora
from splitner_jax.data.check import check
from splitner_jax.data.sentences import Sentence, Span

_PLENTY = [
  Sentence((f"Bo{i}", "ran"), (Span(0, 1, "PER"),), source=f"train:{2 * i}")
  for i in range(5)
]


def sentence(
  text: str, *spans: tuple[int, int, str], line: int = 1
) -> Sentence:
  return Sentence(
    tuple(text.split(" ")), tuple(Span(*s) for s in spans), source=f"f:{line}"
  )


def report(
  train: list[Sentence],
  dev: list[Sentence] | None = None,
  test: list[Sentence] | None = None,
) -> str:
  return check(corpora.Corpus("c", [*_PLENTY, *train], dev or [], test or []))


def finding(text: str, what: str) -> list[str]:
  """The lines of one finding below its heading; fails if it is not there."""
  lines = iter(text.partition("\nsuspicious\n")[2].splitlines())
  for line in lines:
    if line.startswith(f"  {what}: "):
      count = line.rpartition(": ")[2]
      break
  else:
    pytest.fail(f"{what!r} is not in\n{text}")
  cases = []
  for line in lines:
    if not line.startswith("    "):
      break
    cases.append(line.strip())
  assert int(count) == len(cases) or cases[-1].startswith("and ")
  return cases


def test_whole_report(tmp_path: pathlib.Path) -> None:
  rows = "".join(f"Bo{i}\tB-PER\nran\tO\n\n" for i in range(5))
  train = tmp_path / "train.tsv"
  train.write_text(rows + "in\tO\nSan\tB-LOC\nJose\tI-LOC\n\n" * 5)
  dev = tmp_path / "dev.txt"
  dev.write_text("Bo1 I-PER\nand O\nMo I-PER\n\nso O\nlong O\n")
  test = tmp_path / "test.jsonl"
  test.write_text(
    '{"text": "Bo2", "entities": [{"start": 0, "end": 3, "label": "PER"}]}'
  )
  corpus = corpora.from_files(str(train), str(dev), str(test))
  assert check(corpus) == (
    f"""corpus files, content {corpus.content_hash}

                      train        dev       test
sentences                10          2          1
  with a mention         10          1          1
words                    25          5          1
mentions                 10          2          1
  LOC                     5          0          0
  PER                     5          2          1

files
  train {train}: BIO
  dev   {dev}: IOB1
  test  {test}: JSONL

longest sentence
  train 3 words, {train}:16
  dev   3 words, {dev}:1
  test  1 words, {test}:1

mentions whose text is one of train's
  dev   50.0% (1 of 2)
  test  100.0% (1 of 1)

suspicious
  nothing
"""
  )


def test_test_may_be_absent() -> None:
  text = report([], [sentence("Bo1", (0, 1, "PER"))])
  assert "dev   100.0% (1 of 1)" in text
  assert "test" not in text


def test_columns_as_they_were_read(tmp_path: pathlib.Path) -> None:
  paths = [tmp_path / "a", tmp_path / "b"]
  for path in paths:
    path.write_text("x Bo U-PER -\n")
  columns = {"tag_column": 2, "word_column": 1}
  corpus = corpora.from_files(*map(str, paths), None, **columns)
  assert f"train {paths[0]}: BILOU\n" in check(corpus, **columns)


def test_many_files_are_summed_up(tmp_path: pathlib.Path) -> None:
  rows = [Sentence(("a",), source=f"{i}.gold_conll:1") for i in range(1200)]
  text = check(corpora.Corpus("c", rows, [], []))
  assert "  train 1,200 files such as 0.gold_conll: CoNLL-2012\n" in text
  assert text.count("gold_conll") == 2


def test_no_mention_in_a_split() -> None:
  text = report([], [sentence("so long")])
  assert finding(text, "split without a mention") == ["dev"]


def test_sentence_in_two_splits() -> None:
  shared = sentence("Ada met Bo", line=7)
  dev = [sentence("so", line=3), sentence("Ada met Bo", line=4)]
  test = [sentence("so", line=5), sentence("ada met Bo", line=6)]
  text = report([shared], dev, test)
  assert finding(text, "sentence both in train and in dev") == [
    "f:7 and 4 'Ada met Bo'"
  ]
  assert finding(text, "sentence both in dev and in test") == ["f:3 and 5 'so'"]
  assert "in train and in test" not in text


def test_other_file_is_named_in_full() -> None:
  other = Sentence(("Bo1", "ran"), source="g:3")
  (case,) = finding(report([], [other]), "sentence both in train and in dev")
  assert case == "train:2 and g:3 'Bo1 ran'"


def test_annotated_in_two_ways() -> None:
  rows = [
    sentence("Ada ran", (0, 1, "PER"), line=3),
    sentence("Ada ran", (0, 1, "PER"), line=5),
    sentence("Ada ran", line=9),
  ]
  assert finding(report(rows), "sentence annotated in two ways") == [
    "f:3 and 9 'Ada ran'"
  ]


def test_text_with_several_types_rarest_first() -> None:
  rows = [
    *(sentence("Rome !", (0, 1, "LOC"), line=i) for i in range(9)),
    sentence("Rome ?", (0, 1, "PER"), line=30),
    sentence("Lee", (0, 1, "PER"), line=40),
    sentence("Lee ,", (0, 1, "LOC"), line=41),
  ]
  assert finding(report(rows), "text with several types") == [
    "f:30 'Rome': LOC 9, PER 1",
    "f:41 'Lee': PER 1, LOC 1",
  ]


def test_lengths() -> None:
  long = " ".join("word" for _ in range(201))
  rows = [
    sentence(long, (0, 11, "PER"), line=2),
    sentence(long[5:], (0, 10, "PER"), line=3),
  ]
  text = report(rows)
  assert finding(text, "sentence of more than 200 words") == ["f:2 201 words"]
  (case,) = finding(text, "mention of more than 10 words")
  assert case.startswith("f:2 PER 'word word")
  assert len(case) < 80


@pytest.mark.parametrize(
  ("mention", "odd"),
  [
    ("Rome ,", True),
    ("Rome,", True),
    ("( Rome", True),
    ("(Rome", True),
    ("Rome )", True),
    ('" Rome "', True),
    ("- 3", True),
    ("Rome", False),
    ("Inc.", False),
    ("@ada", False),
    ("#tag", False),
    ("C++", False),
    ("$ 5", False),
    ("Rome ( Italy )", False),
    ("(+)-cat", False),
    ("U.S.", False),
  ],
)
def test_punctuation_at_an_edge(mention: str, odd: bool) -> None:
  row = sentence(f"in {mention}", (1, 1 + len(mention.split()), "PER"))
  text = report([row])
  what = "mention that begins or ends with punctuation"
  if odd:
    assert finding(text, what) == [f"f:1 PER {mention!r}"]
  else:
    assert what not in text


def test_invisible_and_lost_characters() -> None:
  rows = [
    sentence("Ada\u200b ran", (0, 1, "PER"), line=2),
    sentence("\u00a0Bo ran", (0, 1, "PER"), line=3),
    sentence("caf\ufffd \ufffd", line=4),
  ]
  text = report(rows)
  what = "mention that begins or ends with an invisible character"
  assert finding(text, what) == ["f:2 PER 'Ada\\u200b'", "f:3 PER '\\xa0Bo'"]
  what = "word with a character that was lost in conversion (U+FFFD)"
  assert finding(text, what) == ["f:4 'caf\ufffd'", "f:4 '\ufffd'"]


def test_several_sentences_in_one() -> None:
  rows = [
    sentence("One . Two ! Three ? Four .", line=2),
    sentence("One . Two ! Three ?", line=3),
    sentence("e . g . a . b . c . d", line=4),
  ]
  (case,) = finding(report(rows), "sentence that looks like several")
  assert case == "f:2 'One . Two ! Three ? Four .'"


def test_rare_types_and_types_that_are_written_alike() -> None:
  rows = [
    *(sentence("Rome", (0, 1, "LOC"), line=i) for i in range(4)),
    *(sentence("Ada", (0, 1, "Per"), line=i) for i in range(5)),
    *(sentence("Mo", (0, 1, "my-type"), line=i) for i in range(5)),
    *(sentence("Ny", (0, 1, "my_type"), line=i) for i in range(5)),
  ]
  text = report(rows)
  assert finding(text, "type with fewer than 5 mentions in train") == ["LOC 4"]
  same = finding(text, "types that differ only in case or punctuation")
  assert same == ["PER, Per", "my-type, my_type"]


def test_a_few_examples_of_many() -> None:
  rows = [sentence(f"x{i} \ufffd", line=i) for i in range(1005)]
  text = report(rows)
  what = "word with a character that was lost in conversion (U+FFFD)"
  assert f"  {what}: 1,005\n" in text
  assert finding(text.replace("1,005", "1005"), what) == [
    "f:0 '\ufffd'", "f:1 '\ufffd'", "f:2 '\ufffd'", "and 1,002 more",
  ]  # fmt: skip
