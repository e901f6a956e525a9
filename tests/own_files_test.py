"""Own files: any format, dev carved from train, and the wrong requests."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from splitner_jax.data import corpora
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.tags import spans_to_tags
from splitner_jax.runtime.errors import UserError

_SENTENCES = [
  (("Ada", "Lima", "met", "Bo", "#"), (Span(0, 2, "PER"), Span(3, 4, "PER"))),
  (("Oh", "no", "!"), ()),
  (
    ("Rio", "Ada", "Bo", "Cy"),
    (Span(0, 1, "LOC"), Span(1, 3, "PER"), Span(3, 4, "PER")),
  ),
]


def columns(
  scheme: str = "BIO",
  separator: str = "\t",
  more: str | None = None,
  between: str = "",
) -> str:
  blocks = []
  for words, spans in _SENTENCES:
    rows = zip(words, spans_to_tags(spans, len(words), scheme), strict=True)
    fields = [(w, tag) if more is None else (w, tag, more) for w, tag in rows]
    blocks.append("".join(separator.join(f) + "\n" for f in fields))
  return f"{between}\n".join(blocks)


def jsonl_words() -> str:
  return "".join(
    json.dumps({"tokens": words, "entities": [s._asdict() for s in spans]})
    + "\n"
    for words, spans in _SENTENCES
  )


def jsonl_characters() -> str:
  lines = []
  for words, spans in _SENTENCES:
    starts = [len(" ".join((*words[:i], ""))) for i in range(len(words))]
    entities = [
      {
        "start": starts[span.start],
        "end": starts[span.end - 1] + len(words[span.end - 1]),
        "label": span.label,
      }
      for span in spans
    ]
    lines.append(json.dumps({"text": " ".join(words), "entities": entities}))
  return "\n".join(lines) + "\n"


def gold_conll() -> str:
  lines = []
  for words, spans in _SENTENCES:
    names = ["*"] * len(words)
    for start, end, label in spans:
      names[start] = f"({label}" + names[start]
      names[end - 1] += ")"
    lines += [
      f"nw/x 0 {i} {word} X * - - - - {name} -"
      for i, (word, name) in enumerate(zip(words, names, strict=True))
    ] + [""]
  return "\n".join(lines)


def write(folder: pathlib.Path, text: str, name: str = "train.tsv") -> str:
  path = folder / name
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(text.encode())
  return str(path)


# Every scheme, every oddity, every format: file name and content.
_VARIANTS = {
  **{
    f"{scheme} {name}": ("f.txt", columns(scheme, separator))
    for scheme in ("BIO", "IOB1", "BIOES", "BILOU")
    for name, separator in (("tab", "\t"), ("space", " "))
  },
  "document starts": ("f.conll", "-DOCSTART- O\n\n" + columns(separator=" ")),
  "comments": ("f.tsv", "# id 1\n" + columns(between="\n# id 2")),
  "lines of blanks": ("f.tsv", columns(between="  \n\t")),
  "CRLF": ("f.tsv", columns().replace("\n", "\r\n")),
  "byte-order mark": ("f.tsv", "\ufeff" + columns()),
  "no last newline": ("f.tsv", columns().rstrip("\n")),
  "words": ("f.jsonl", jsonl_words()),
  "characters": ("f.json", jsonl_characters()),
  "CoNLL-2012": ("f.gold_conll", gold_conll()),
}


@pytest.mark.parametrize("variant", _VARIANTS)
def test_each_form_of_a_file_is_the_same_data(
  tmp_path: pathlib.Path, variant: str
) -> None:
  plain = write(tmp_path, columns())
  name, text = _VARIANTS[variant]
  other = write(tmp_path / "other", text, name)
  expected = corpora.from_files(plain, other, None)
  corpus = corpora.from_files(other, plain, None)
  for rows in (expected.train, expected.dev, corpus.train, corpus.dev):
    assert [(row.words, row.spans) for row in rows] == _SENTENCES
  assert corpus.content_hash == expected.content_hash


def test_all_three_files(tmp_path: pathlib.Path) -> None:
  corpus = corpora.from_files(
    write(tmp_path, columns("BILOU"), "a.txt"),
    write(tmp_path, jsonl_words(), "b.jsonl"),
    write(tmp_path, "Bo\tB-PER\n", "c.tsv"),
  )
  assert corpus.name == "files"
  assert corpus.types == ["LOC", "PER"]
  assert corpus.test == [
    Sentence(("Bo",), (Span(0, 1, "PER"),), source=f"{tmp_path}/c.tsv:1")
  ]
  assert (
    corpora.from_files(f"{tmp_path}/a.txt", f"{tmp_path}/b.jsonl", None).test
    == []
  )


def test_columns_are_chosen(tmp_path: pathlib.Path) -> None:
  train = write(tmp_path, columns(more="rest", separator=" "), "a.txt")
  dev = write(tmp_path, jsonl_words(), "b.jsonl")
  for tag_column in (1, -2):
    corpus = corpora.from_files(train, dev, None, tag_column=tag_column)
    assert [(row.words, row.spans) for row in corpus.train] == _SENTENCES
  corpus = corpora.from_files(train, dev, None, tag_column=1, word_column=2)
  assert corpus.train[0].words == ("rest",) * 5
  corpus = corpora.from_files(train, dev, None, tag_column=1, pos_column=2)
  assert [(row.words, row.spans) for row in corpus.train] == _SENTENCES
  assert corpus.train[1].pos == ("rest",) * 3
  assert corpus.dev[1].pos == ()


def test_home_folder(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv("HOME", str(tmp_path))
  write(tmp_path, columns(), "a.tsv")
  write(tmp_path, columns(), "b.tsv")
  corpus = corpora.from_files("~/a.tsv", "~/b.tsv", None)
  assert corpus.dev[0].source == f"{tmp_path}/b.tsv:1"


def many(count: int = 100) -> str:
  """Sentences of which every fifth is the same; one has a type of its own."""
  blocks = ["Only\tB-RARE\n"]
  for i in range(count - 1):
    word = "again" if i % 5 == 0 else f"w{i}"
    blocks.append(f"{word}\tO\nBo\tB-PER\n")
  return "\n".join(blocks)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_carved_dev(tmp_path: pathlib.Path, seed: int, fraction: float) -> None:
  path = write(tmp_path, many())
  corpus = corpora.from_files(
    path, None, None, dev_fraction=fraction, seed=seed
  )
  assert len(corpus.train) + len(corpus.dev) == 100
  assert len(corpus.dev) == round(100 * fraction)
  texts = [{row.text for row in rows} for rows in (corpus.train, corpus.dev)]
  assert not texts[0] & texts[1]
  assert corpus.types == ["PER", "RARE"]
  for rows in (corpus.train, corpus.dev):
    lines = [int(row.source.rpartition(":")[2]) for row in rows]
    assert lines == sorted(lines)


def test_carving_depends_on_the_seed_alone(tmp_path: pathlib.Path) -> None:
  path = write(tmp_path, many())

  def dev(seed: int) -> set[str]:
    corpus = corpora.from_files(path, None, None, dev_fraction=0.2, seed=seed)
    return {row.text for row in corpus.dev}

  assert dev(0) == dev(0)
  assert dev(0) != dev(1)


@pytest.mark.parametrize("seed", range(20))
def test_every_type_stays_in_train(tmp_path: pathlib.Path, seed: int) -> None:
  path = write(tmp_path, "a\tB-X\n\nb\tB-X\n\nc\tB-Y\n\nd\tB-Y\n")
  corpus = corpora.from_files(path, None, None, dev_fraction=0.5, seed=seed)
  assert corpus.types == ["X", "Y"]
  assert len(corpus.dev) == 2


def test_one_sentence_for_dev_at_least(tmp_path: pathlib.Path) -> None:
  path = write(tmp_path, "a\tB-X\n\nb\tB-X\n")
  corpus = corpora.from_files(path, None, None, dev_fraction=0.01)
  assert (len(corpus.train), len(corpus.dev)) == (1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_dev_has_a_mention(tmp_path: pathlib.Path, seed: int) -> None:
  with_none = [f"it\tO\nrains{i}\tO\n" for i in range(9)]
  # The first mention has to stay, the next are three of a text, too many.
  first = ["Oslo\tB-LOC\n", "Bo\tB-PER\n", "Bo\tB-PER\n", "Bo\tB-PER\n"]
  path = write(tmp_path, "\n".join([*first, "Cy\tB-PER\n", *with_none]))
  corpus = corpora.from_files(path, None, None, dev_fraction=0.15, seed=seed)
  assert len(corpus.dev) == 2
  assert "Cy" in [row.text for row in corpus.dev]
  # And it may be no more than one.
  path = write(tmp_path, "\n".join([*first[1:2], "Cy\tB-PER\n", *with_none]))
  corpus = corpora.from_files(path, None, None, dev_fraction=0.5, seed=seed)
  assert len(corpus.dev) == 6
  assert sum(len(row.spans) for row in corpus.dev) == 1


def _message(*paths: Any, **kwargs: Any) -> str:
  with pytest.raises(UserError) as caught:
    corpora.from_files(*paths, **kwargs)
  assert "\n" not in str(caught.value)
  return str(caught.value)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> list[str]:
  return [write(tmp_path, columns(), f"{s}.tsv") for s in ("a", "b", "c")]


def test_train_is_not_set(files: list[str]) -> None:
  assert _message(None, files[1], None).startswith("config.data.train: not set")
  assert _message("", files[1], None).startswith("config.data.train: not set")


def test_neither_dev_nor_fraction(files: list[str]) -> None:
  message = _message(files[0], None, files[2])
  assert message.startswith(
    "config.data.dev: not set; name a file with --dev=FILE"
  )
  assert "config.data.dev_fraction" in message


def test_both_dev_and_fraction(files: list[str]) -> None:
  message = _message(*files, dev_fraction=0.1)
  assert message.startswith("config.data.dev_fraction: config.data.dev names")


@pytest.mark.parametrize("fraction", [-0.1, 0.51, 1.0, 10.0, float("nan")])
def test_fraction_out_of_range(files: list[str], fraction: float) -> None:
  message = _message(files[0], None, None, dev_fraction=fraction)
  assert message.startswith(f"config.data.dev_fraction: {fraction} is not")


def test_nothing_can_leave_train(tmp_path: pathlib.Path) -> None:
  path = write(tmp_path, "Bo\tB-PER\n\nBo\tB-PER\n")
  message = _message(path, None, None, dev_fraction=0.5)
  assert message.startswith(f"{path}: no sentence with a mention can leave it ")
  # Others could, but could choose no epoch.
  path = write(tmp_path, "Bo\tB-PER\n\nran\tO\n\nsat\tO\n")
  message = _message(path, None, None, dev_fraction=0.5)
  assert message.startswith(f"{path}: no sentence with a mention can leave it ")


def test_files_that_are_not_there(
  files: list[str], tmp_path: pathlib.Path
) -> None:
  missing = str(tmp_path / "none.jsonl")
  for index in range(3):
    paths = [*files]
    paths[index] = missing
    assert _message(*paths).startswith(f"{missing}: no such file")


def test_one_file_twice(files: list[str], tmp_path: pathlib.Path) -> None:
  link = tmp_path / "link.tsv"
  link.symlink_to(files[0])
  assert _message(files[0], files[0], None) == (
    f"config.data.dev: {files[0]} is also config.data.train; each split needs "
    "a file of its own"
  )
  message = _message(files[0], files[1], str(link))
  assert message.startswith(f"config.data.test: {link} is also config.data.tr")
  message = _message(files[0], files[1], f"{tmp_path}/./b.tsv")
  assert "is also config.data.dev" in message


@pytest.mark.parametrize(
  ("name", "text"),
  [("x.tsv", "Bo\tB-ORG\n"), ("x.jsonl", None), ("x.gold_conll", None)],
)
def test_type_that_train_lacks(
  files: list[str], tmp_path: pathlib.Path, name: str, text: str | None
) -> None:
  contents = {
    "x.jsonl": jsonl_words().replace("LOC", "ORG"),
    "x.gold_conll": gold_conll().replace("LOC", "ORG"),
  }
  path = write(tmp_path, text or contents[name], name)
  for paths, split in (((path, None), "dev"), ((files[1], path), "test")):
    message = _message(files[0], *paths)
    assert message.startswith(f"{path}:")
    assert f": type 'ORG' of split {split} never occurs in train" in message


def test_no_mention_in_train(files: list[str], tmp_path: pathlib.Path) -> None:
  path = write(tmp_path, "Bo\tO\nran\tO\n", "x.tsv")
  assert _message(path, files[1], None).startswith(f"{path}: no mention in it")
  message = _message(path, None, None, dev_fraction=0.5)
  assert message.startswith(f"{path}: no mention in it, nothing to learn from")


def test_no_mention_in_dev(files: list[str], tmp_path: pathlib.Path) -> None:
  path = write(tmp_path, "Bo\tO\nran\tO\n", "x.tsv")
  message = _message(files[0], path, None)
  assert message.startswith(f"{path}: no mention in it, nothing to choose the ")
  # To score on it is only of little use.
  assert corpora.from_files(*files[:2], path).test[0].spans == ()


def test_broken_file_is_the_readers_error(
  files: list[str], tmp_path: pathlib.Path
) -> None:
  path = write(tmp_path, "Bo\tB-PER\nran\tI-LOC\n", "x.tsv")
  assert _message(files[0], path, None).startswith(f"{path}:2: I-LOC continues")


def test_neither_tfds_nor_jax_is_imported() -> None:
  code = (
    "import sys\n"
    "from splitner_jax.data import check, corpora\n"
    "heavy = {'tensorflow', 'tensorflow_datasets', 'jax', 'torch'}\n"
    "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
