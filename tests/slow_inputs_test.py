"""Inputs that took a time, or a memory, out of proportion with their size."""

import json
import os
import pathlib
import threading
import time
from collections.abc import Callable

import pytest
from paper_checkpoints import fails

from splitner_jax.data import check, corpora, formats
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation import error_analysis
from splitner_jax.runtime import json_text
from splitner_jax.runtime.files import read_lines


def _grows(work: Callable[[int], object], size: int) -> float:
  """How much longer eight times as much takes; 8 if time is linear."""

  def seconds(count: int) -> float:
    started = time.process_time()
    work(count)
    return time.process_time() - started

  # The least of five, in turns: other work makes it longer, nothing shorter.
  pairs = [(seconds(size), seconds(8 * size)) for _ in range(5)]
  small, large = map(min, zip(*pairs, strict=True))
  return large / small


def _entities(count: int, step: int) -> list[dict[str, object]]:
  return [
    {"start": step * i, "end": step * i + 1, "label": "X"} for i in range(count)
  ]


@pytest.mark.parametrize("key", ["text", "tokens"])
def test_many_entities_in_a_line(tmp_path: pathlib.Path, key: str) -> None:
  path = tmp_path / "a.jsonl"

  def read(count: int) -> None:
    words = ["a"] * count
    content = " ".join(words) if key == "text" else words
    entities = _entities(count, 2 if key == "text" else 1)
    path.write_text(json.dumps({key: content, "entities": entities}))
    [sentence] = formats.read(path)
    assert sentence.spans == tuple(Span(i, i + 1, "X") for i in range(count))

  assert _grows(read, 1000) < 30


def test_many_errors_in_a_sentence() -> None:
  def analyse(count: int) -> None:
    gold = tuple(Span(2 * i, 2 * i + 2, "X") for i in range(count))
    found = [Span(2 * i + 1, 2 * i + 2, "X") for i in range(count)]
    row = Sentence(("a",) * 2 * count, gold)
    result = error_analysis.analyse(None, [row], [found])
    assert result["categories"]["wrong_boundary"]["all"] == count

  assert _grows(analyse, 1500) < 30


def test_a_long_mention_over_many() -> None:
  """What begins far before is near too."""
  gold = (Span(0, 9, "X"), Span(10, 11, "X"))
  found = [Span(0, 12, "X"), *(Span(i, i + 1, "Y") for i in range(9))]
  row = Sentence(("a",) * 12, gold)
  categories = error_analysis.analyse(None, [row], [found])["categories"]
  assert categories["wrong_boundary"]["all"] == 1
  assert categories["wrong_both"]["all"] == 0
  assert categories["missed"]["all"] == 1
  assert categories["false"]["all"] == 9


def test_many_keys() -> None:
  def parse(count: int) -> None:
    text = json.dumps({f"k{i}": i for i in range(count)})
    assert len(json_text.parse(text)) == count
    twice = f"{text[:-1]}, {text[1:]}"
    with pytest.raises(ValueError, match="appears twice"):
      json_text.parse(twice)

  assert _grows(parse, 12_000) < 30


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom"])
def test_devices_that_do_not_end(name: str, tmp_path: pathlib.Path) -> None:
  fails(f"^{name}: a device; give a file$", read_lines, name)
  link = tmp_path / "train.jsonl"
  link.symlink_to(name)
  fails("a device; give a file", formats.read, link)
  assert read_lines(os.devnull) == [""]


def test_a_pipe_is_read_once(tmp_path: pathlib.Path) -> None:
  pipe, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
  os.mkfifo(pipe)
  dev.write_text("a\tB-X\n")
  writer = threading.Thread(target=pipe.write_text, args=("b\tB-X\n",))
  writer.start()
  corpus = corpora.from_files(str(pipe), str(dev), None)
  writer.join()
  # A second opening would wait for ever.
  said: list[str] = []
  checking = threading.Thread(
    target=lambda: said.append(check.check(corpus)), daemon=True
  )
  checking.start()
  checking.join(timeout=10)
  assert said
  assert f"dev   {dev}: BIO" in said[0]
