"""OntoNotes 5: its files are found, the genre pt is left out, sizes compared.

Also ctireports, which shares the comparison.
"""

import pathlib
import tempfile

import pytest

from splitner_jax.data import corpora
from splitner_jax.data.sentences import Span
from splitner_jax.runtime.errors import UserError

_LANGUAGE = "data/english/annotations"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv("SPLITNER_CACHE", str(tmp_path / "cache"))
  # TFDS leaves an empty temporary folder behind for each new data set.
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
  found: list[str] = []
  monkeypatch.setattr(
    corpora.log, "warning", lambda text, *values: found.append(text % values)
  )
  return found


def document(words: str, genre: str = "nw", name: str = "(GPE)") -> str:
  """A document of one sentence, whose last word has a name."""
  key = f"{genre}/x/00/x_0001"
  *others, last = words.split()
  rows = [(word, "*") for word in others] + [(last, name)]
  lines = [
    f"{key} 0 {i} {word} NN * - - - Ada {bracket} -"
    for i, (word, bracket) in enumerate(rows)
  ]
  text = "\n".join(lines)
  return f"#begin document ({key}); part 000\n{text}\n\n#end document\n"


def plant(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return root


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
  """As the shared task's scripts leave it, with two genres and a language."""
  train, dev, test = (
    f"conll-2012/v4/data/{split}/{_LANGUAGE}"
    for split in ("train", "development", "test")
  )
  return plant(
    tmp_path / "ontonotes",
    {
      f"{train}/nw/x/00/x_0002.v4_gold_conll": document("then Rome"),
      f"{train}/bc/x/00/x_0001.v4_gold_conll": document("first Bonn"),
      f"{train}/pt/x/00/x_0001.v4_gold_conll": document("Lo Zion", "pt"),
      f"{train}/nw/x/00/x_0002.v4_auto_conll": "guessed\n",
      f"{dev}/nw/x/00/x_0001.v4_gold_conll": document("in Lima"),
      f"{test}/nw/x/00/x_0001.v4_gold_conll": document("at Oslo"),
      f"{test}/nw/x/00/x_0001.v4_gold_skel": "?\n",
      "conll-2012/v4/data/train/data/chinese/annotations/nw/x.gold_conll": (
        document("z Beijing")
      ),
    },
  )


def texts(corpus: corpora.Corpus) -> list[list[str]]:
  return [
    [row.text for row in rows]
    for rows in (corpus.train, corpus.dev, corpus.test)
  ]


def test_tree(tree: pathlib.Path, warnings: list[str]) -> None:
  corpus = corpora.load("ontonotes5", str(tree))
  assert texts(corpus) == [
    ["first Bonn", "then Rome"],
    ["in Lima"],
    ["at Oslo"],
  ]
  first = corpus.train[0]
  assert first.spans == (Span(1, 2, "GPE"),)
  assert first.pos == ("NN", "NN")
  folder = tree / f"conll-2012/v4/data/train/{_LANGUAGE}"
  assert first.source == f"{folder}/bc/x/00/x_0001.v4_gold_conll:2"


def test_difference_to_the_paper_is_said(
  tree: pathlib.Path, warnings: list[str]
) -> None:
  corpora.load("ontonotes5", str(tree))
  assert [text.partition(":")[0] for text in warnings] == [
    f"ontonotes5 has {found} where the published corpus has {published}"
    for found, published in (
      ("2 train sentences", "59,924"),
      ("1 dev sentences", "8,528"),
      ("1 test sentences", "8,262"),
      ("1 entity types", "18"),
    )
  ]
  warnings.clear()
  corpora.load("ontonotes5", str(tree), ("dev",))
  assert len(warnings) == 1


def test_moved_and_renamed_files(
  tree: pathlib.Path, warnings: list[str]
) -> None:
  first = corpora.load("ontonotes5", str(tree))
  moved = tree.rename(tree.with_name("moved"))
  second = corpora.load("ontonotes5", str(moved))
  assert second.content_hash == first.content_hash
  (old,) = moved.rglob("*test*/**/*gold_conll")
  new = old.rename(old.with_name("other.gold_conll"))
  third = corpora.load("ontonotes5", str(moved))
  assert third.test[0].source == f"{new}:2"


def test_three_files_with_all_documents(
  tmp_path: pathlib.Path, warnings: list[str]
) -> None:
  both = document("Lo Zion", "pt", "(LAW)") + document("to Rome")
  folder = plant(
    tmp_path / "joined",
    {f"{s}.english.v4_gold_conll": both for s in ("train", "dev", "test")},
  )
  assert texts(corpora.load("ontonotes5", str(folder))) == [["to Rome"]] * 3


def test_the_shared_tasks_own_test_part_comes_first(
  tmp_path: pathlib.Path, warnings: list[str]
) -> None:
  folder = plant(
    tmp_path / "release",
    {
      f"data/{split}/{_LANGUAGE}/nw/x.gold_conll": document(f"{split} Rome")
      for split in ("train", "development", "test", "conll-2012-test")
    },
  )
  assert texts(corpora.load("ontonotes5", str(folder)))[2] == [
    "conll-2012-test Rome"
  ]


def test_column_files(tmp_path: pathlib.Path, warnings: list[str]) -> None:
  folder = plant(
    tmp_path / "columns",
    {
      f"{split}.tsv": f"{split}\tO\nRome\tB-GPE\n"
      for split in ("train", "dev", "test")
    },
  )
  corpus = corpora.load("ontonotes5", str(folder))
  assert texts(corpus) == [["train Rome"], ["dev Rome"], ["test Rome"]]
  assert corpus.dev[0].source == f"{folder}/dev.tsv:1"


def _message(name: str, folder: pathlib.Path | None) -> str:
  with pytest.raises(UserError) as caught:
    corpora.load(name, folder and str(folder))
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_split_without_files(tree: pathlib.Path) -> None:
  (path,) = tree.rglob("*development*/**/*gold_conll")
  path.unlink()
  assert _message("ontonotes5", tree) == (
    f"{tree}: no gold_conll file of split dev; they belong below a folder "
    "development or dev"
  )


def test_a_split_of_pt_alone(tree: pathlib.Path) -> None:
  (path,) = tree.rglob("*development*/**/*gold_conll")
  path.write_text(document("Lo Zion", "pt"))
  assert _message("ontonotes5", tree).startswith(
    f"{tree}: no sentence for split dev"
  )


def test_broken_file_is_named_with_its_line(tree: pathlib.Path) -> None:
  (path,) = tree.rglob("*development*/**/*gold_conll")
  path.write_text(document("to Rome", name="(GPE*"))
  assert _message("ontonotes5", tree).startswith(f"{path}:3: (GPE* is not")


def test_a_folder_is_needed(tmp_path: pathlib.Path) -> None:
  needed = (
    "train.tsv, dev.tsv, test.tsv, or *gold_conll files below folders train, "
    "development and test"
  )
  message = _message("ontonotes5", None)
  assert message.startswith("config.data.dir: ontonotes5 cannot be downloaded")
  assert message.endswith(needed)
  message = _message("ontonotes5", tmp_path / "nowhere")
  assert message.startswith(f"{tmp_path / 'nowhere' / 'train.tsv'}: no such")
  assert message.endswith(needed)
  assert _message("ctireports", None).startswith("config.data.dir: ctireports")


def test_ctireports(tmp_path: pathlib.Path, warnings: list[str]) -> None:
  folder = plant(
    tmp_path / "cti",
    {
      f"{split}.tsv": f"{split}\tO\nEmotet\tB-Malware\n"
      for split in ("train", "dev", "test")
    },
  )
  corpus = corpora.load("ctireports", str(folder))
  assert texts(corpus) == [["train Emotet"], ["dev Emotet"], ["test Emotet"]]
  assert [text.split(" where")[0] for text in warnings] == [
    "ctireports has 1 train sentences",
    "ctireports has 1 dev sentences",
    "ctireports has 1 test sentences",
    "ctireports has 1 entity types",
  ]
