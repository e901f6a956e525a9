"""Corpora: original files -> TFDS -> sentences, and what can go wrong."""

import dataclasses
import hashlib
import http.client
import io
import pathlib
import tempfile
import urllib.error
import urllib.request

import pytest

from splitner_jax.data import corpora, formats
from splitner_jax.data.corpora import sources
from splitner_jax.data.corpora.wnut17 import Wnut17
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.cache import cache_dir
from splitner_jax.runtime.errors import UserError

_FILES = {
  "train": (
    "wnut17train.conll",
    "Ada\tB-person\nLovelace\tI-person\nwrote\tO\n\n"
    "Grüße\tO\naus\tO\nKöln\tB-location\n\n"
    "nothing\tO\nhere\tO\n",
  ),
  "dev": ("emerging.dev.conll", "Ada\tB-person\nin\tO\nRome\tB-location\n"),
  "test": ("emerging.test.annotated", "Bonn\tB-location\n\nhello\tO\n"),
}


@pytest.fixture(autouse=True)
def own_cache(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
  folder = tmp_path / "cache"
  monkeypatch.setenv("SPLITNER_CACHE", str(folder))
  # TFDS leaves an empty temporary folder behind for each new data set.
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  return folder


@pytest.fixture
def folder(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
  """Small files under the names, and with the sums, of WNUT17."""
  folder = tmp_path / "wnut17"
  folder.mkdir()
  files = {}
  for split, (name, text) in _FILES.items():
    (folder / name).write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    files[split] = sources.SourceFile(name, digest)
  monkeypatch.setattr(
    Wnut17, "SOURCE", dataclasses.replace(Wnut17.SOURCE, files=files)
  )
  return folder


def _prepared(cache: pathlib.Path) -> set[pathlib.Path]:
  return set(cache.glob(f"tfds/*/wnut17/{Wnut17.VERSION}"))


def test_cache_dir_prefers_own_variable_then_xdg(
  monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
  assert cache_dir() == tmp_path / "cache"
  monkeypatch.setenv("SPLITNER_CACHE", "")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert cache_dir() == tmp_path / "xdg" / "splitner_jax"
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache_dir() == tmp_path / ".cache" / "splitner_jax"


def test_round_trip_keeps_sentences_and_their_order(
  folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
  corpus = corpora.load("wnut17", str(folder))
  for split, (name, _) in _FILES.items():
    assert getattr(corpus, split) == formats.read_columns(folder / name)
  assert corpus.train[1] == Sentence(
    words=("Grüße", "aus", "Köln"),
    spans=(Span(2, 3, "location"),),
    source=f"{folder / 'wnut17train.conll'}:5",
  )
  assert corpus.types == ["location", "person"]
  assert corpus.describe() == (
    "wnut17: train 3 sentences, 2 mentions; dev 1 sentences, 2 mentions; "
    f"test 2 sentences, 1 mentions; content {corpus.content_hash}"
  )
  printed = capsys.readouterr()
  assert printed.out == printed.err == ""


def test_round_trip_keeps_parts_of_speech(
  folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def with_pos(_: Wnut17, path: pathlib.Path) -> list[Sentence]:
    first, *others = formats.read_columns(path)
    tags = tuple(f"tag-{word}" for word in first.words)
    return [dataclasses.replace(first, pos=tags), *others]

  monkeypatch.setattr(Wnut17, "read_file", with_pos)
  corpus = corpora.load("wnut17", str(folder))
  assert [row.pos for row in corpus.train] == [
    ("tag-Ada", "tag-Lovelace", "tag-wrote"), (), (),
  ]  # fmt: skip
  assert [row.pos for row in corpus.test] == [("tag-Bonn",), ()]


def test_same_files_elsewhere_are_not_prepared_again(
  folder: pathlib.Path, own_cache: pathlib.Path
) -> None:
  first = corpora.load("wnut17", str(folder))
  (prepared,) = _prepared(own_cache)
  before = prepared.stat().st_mtime_ns
  moved = folder.rename(folder.with_name("moved"))
  second = corpora.load("wnut17", str(moved))
  assert _prepared(own_cache) == {prepared}
  assert prepared.stat().st_mtime_ns == before
  assert second.content_hash == first.content_hash
  assert second.dev[0].source == f"{moved / 'emerging.dev.conll'}:1"


def test_changed_file_warns_and_is_prepared_anew(
  folder: pathlib.Path,
  own_cache: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  first = corpora.load("wnut17", str(folder))
  warnings: list[str] = []
  monkeypatch.setattr(
    sources.log, "warning", lambda text, *vs: warnings.append(text % vs)
  )
  changed = folder / "wnut17train.conll"
  changed.write_text("Rome\tB-location\nAda\tB-person\n")
  second = corpora.load("wnut17", str(folder))
  assert [row.words for row in second.train] == [("Rome", "Ada")]
  assert second.content_hash != first.content_hash
  assert len(_prepared(own_cache)) == 2
  (warning,) = warnings
  assert warning.startswith(f"{changed} is not the original wnut17 file")


def test_unfinished_folder_is_not_taken_as_finished(
  folder: pathlib.Path,
  own_cache: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  read_columns = formats.read_columns

  def stop_at_test(path: pathlib.Path) -> list[Sentence]:
    if path.name == "emerging.test.annotated":
      raise KeyboardInterrupt
    return read_columns(path)

  with monkeypatch.context() as patch:
    patch.setattr(formats, "read_columns", stop_at_test)
    with pytest.raises(KeyboardInterrupt):
      corpora.load("wnut17", str(folder))
  assert not _prepared(own_cache)
  assert len(corpora.load("wnut17", str(folder)).test) == 2


def test_content_hash_sees_words_spans_order_and_split() -> None:
  one = Sentence(("a", "b"), (Span(0, 1, "x"),), source="f:1")
  two = Sentence(("c",))
  base = corpora.Corpus("n", [one, two], [], [])
  moved = dataclasses.replace(one, source="g:7")
  assert corpora.Corpus("m", [moved, two], [], []).content_hash == (
    base.content_hash
  )
  others = [
    corpora.Corpus("n", [two, one], [], []),
    corpora.Corpus("n", [one], [two], []),
    corpora.Corpus("n", [Sentence(("a b",), one.spans), two], [], []),
    corpora.Corpus("n", [Sentence(one.words), two], [], []),
  ]
  hashes = {base.content_hash, *(other.content_hash for other in others)}
  assert len(hashes) == 1 + len(others)


def test_some_splits_only(folder: pathlib.Path) -> None:
  for name in ("wnut17train.conll", "emerging.dev.conll"):
    (folder / name).unlink()
  corpus = corpora.load("wnut17", str(folder), ("test",))
  assert (corpus.train, corpus.dev, len(corpus.test)) == ([], [], 2)


def _message(*arguments: object) -> str:
  with pytest.raises(UserError) as caught:
    corpora.load(*arguments)
  message = str(caught.value)
  assert "\n" not in message
  return message


def test_unknown_name() -> None:
  assert _message("wnut16", None) == (
    "config.data.name: no corpus 'wnut16'; there are bionlp13cg, ctireports, "
    "demo, ontonotes5, wnut17"
  )


def test_missing_file_is_named_with_all_that_belong_there(
  folder: pathlib.Path,
) -> None:
  missing = folder / "emerging.dev.conll"
  missing.unlink()
  message = _message("wnut17", str(folder))
  assert message.startswith(f"{missing}: no such file; config.data.dir")
  for name, _ in _FILES.values():
    assert name in message


def test_type_unknown_to_train(folder: pathlib.Path) -> None:
  path = folder / "emerging.dev.conll"
  path.write_text("fine\tO\n\nAlas\tO\nSirius\tB-star\n")
  message = _message("wnut17", str(folder))
  assert message.startswith(f"{path}:3: type 'star' of split dev never")


@pytest.mark.parametrize("text", ["\n\n", "Ada\tB-person\nonly-one-column\n"])
def test_bad_file_is_the_readers_error(folder: pathlib.Path, text: str) -> None:
  path = folder / "emerging.test.annotated"
  path.write_text(text)
  with pytest.raises(UserError) as expected:
    formats.read_columns(path)
  assert _message("wnut17", str(folder)) == str(expected.value)


def _serve(
  monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]
) -> list[str]:
  """Answers downloads from `content` by file name; returns the log of them."""
  asked: list[str] = []

  def urlopen(url: str, timeout: float) -> io.BytesIO:
    asked.append(url)
    return io.BytesIO(content[url.rsplit("/", 1)[1]])

  monkeypatch.setattr(urllib.request, "urlopen", urlopen)
  return asked


def test_download_once(
  folder: pathlib.Path,
  own_cache: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  asked = _serve(
    monkeypatch, {name: text.encode() for name, text in _FILES.values()}
  )
  for _ in range(2):
    corpus = corpora.load("wnut17", None)
    assert len(corpus.train) == 3
  assert asked == [f"{Wnut17.SOURCE.url}/{name}" for name, _ in _FILES.values()]
  kept = own_cache / "downloads" / "wnut17"
  assert {path.name for path in kept.iterdir()} == {
    name for name, _ in _FILES.values()
  }


def test_download_with_another_sum_is_refused(
  folder: pathlib.Path,
  own_cache: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  _serve(monkeypatch, {name: b"?" for name, _ in _FILES.values()})
  message = _message("wnut17", None)
  assert f"{_FILES['train'][0]}: SHA-256 is" in message
  assert not (own_cache / "downloads").exists()


@pytest.mark.parametrize(
  "error",
  [urllib.error.URLError("no route"), http.client.IncompleteRead(b"half")],
)
def test_offline(
  folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
  def urlopen(url: str, timeout: float) -> io.BytesIO:
    raise error

  monkeypatch.setattr(urllib.request, "urlopen", urlopen)
  message = _message("wnut17", None)
  assert message.startswith(f"cannot download {Wnut17.SOURCE.url}/wnut17train")
  assert "set config.data.dir" in message
  for name, _ in _FILES.values():
    assert name in message


def test_demo_ships_with_the_package() -> None:
  corpus = corpora.load("demo", None)
  assert len(corpus.types) > 1
  assert len(corpus.train) > len(corpus.dev)
  assert len(corpus.train) > len(corpus.test)


@pytest.mark.parametrize(
  ("name", "sizes", "types", "test_mentions"),
  [
    ("wnut17", (3394, 1009, 1287), 6, 1079),
    ("bionlp13cg", (3033, 1003, 1906), 16, 6881),
  ],
)
def test_documented_counts(
  shared_data: pathlib.Path,
  name: str,
  sizes: tuple[int, int, int],
  types: int,
  test_mentions: int,
) -> None:
  corpus = corpora.load(name, str(shared_data / name))
  assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == sizes
  assert len(corpus.types) == types
  assert sum(len(row.spans) for row in corpus.test) == test_mentions
