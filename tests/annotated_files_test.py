"""Formats of other programs: round trips of random corpora, and errors."""

import json
import os
import pathlib
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from splitner_jax import SplitNER
from splitner_jax.data import docbin, formats, parquet, tags
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.text import words_in_line, words_with_offsets
from splitner_jax.inference import documents, model_folder, output_formats
from splitner_jax.inference.documents import Row
from splitner_jax.inference.pipeline import Entity
from splitner_jax.runtime.errors import UserError
from tests import runs, tiny_system

Path = pathlib.Path
_LABELS = ("person", "x-y", "Ort/Stätte", "A B")
# All that a word may hold, odd characters as often as usual ones.
_ODD = [
  chr(c)
  for c in (*range(0x21, 0x3000), *range(0x1F300, 0x1F700))
  if unicodedata.category(chr(c)) not in ("Cc", "Cs", "Cn")
]


def _needs(module: str) -> None:
  pytest.importorskip(module, reason=f"needs {module}, of an extra")


def _spans(rng: np.random.Generator, length: int) -> tuple[Span, ...]:
  spans, at = [], 0
  while at < length:
    size = int(rng.integers(1, 4))
    if rng.random() < 0.4 and at + size <= length:
      spans.append(Span(at, at + size, str(rng.choice(_LABELS))))
      at += size
    at += int(rng.integers(0, 3))
  return tuple(spans)


def _corpus(seed: int, *, plain: bool = False) -> list[Sentence]:
  """Random sentences; `plain` of words that text is split into again."""
  rng = np.random.default_rng(seed)
  sentences = []
  while len(sentences) < 40:
    words = [
      "".join(rng.choice(["a", "Ab", "1", *rng.choice(_ODD, 3)], size))
      for size in rng.integers(1, 5, rng.integers(1, 12))
    ]
    if plain:
      words = [word.text for word in words_with_offsets(" ".join(words))]
      again = words_with_offsets(" ".join(words))
      if not words or [word.text for word in again] != words:
        continue
    words = [w for w in words if not w.isspace() and w.strip(" \t\r\n\v\f")]
    if words:
      sentences.append(Sentence(tuple(words), _spans(rng, len(words))))
  return sentences


def _lines(path: Path, records: Sequence[object]) -> None:
  lines = [json.dumps(r, ensure_ascii=False) for r in records]
  path.write_text("\n".join(lines), "utf-8")


def _characters(sentence: Sentence) -> list[tuple[int, int, str]]:
  words = words_in_line(sentence.words)
  return [(words[s].start, words[e - 1].end, x) for s, e, x in sentence.spans]


def _datasets(path: Path, sentences: Sequence[Sentence]) -> None:
  scheme = "BIOES"
  rows = [
    {
      "id": str(i),
      "tokens": s.words,
      "ner_tags": tags.spans_to_tags(s.spans, len(s.words), scheme),
    }
    for i, s in enumerate(sentences)
  ]
  _lines(path, rows)


def _numbered_datasets(path: Path, sentences: Sequence[Sentence]) -> None:
  names = ["O", *(f"{p}-{label}" for label in _LABELS for p in "BI")]
  found = [tags.spans_to_tags(s.spans, len(s.words)) for s in sentences]
  _lines(
    path,
    [
      {"tokens": s.words, "ner_tags": [names.index(t) for t in row]}
      for s, row in zip(sentences, found, strict=True)
    ],
  )
  feature = {"feature": {"names": names, "_type": "ClassLabel"}}
  info = {"features": {"ner_tags": {**feature, "_type": "Sequence"}}}
  path.with_name("dataset_info.json").write_text(json.dumps(info), "utf-8")


def _prodigy(path: Path, sentences: Sequence[Sentence]) -> None:
  records: list[dict[str, Any]] = []
  for s in sentences:
    words = words_in_line(s.words)
    spans = [
      {"start": a, "end": b, "label": label, "token_start": 0, "token_end": 0}
      for a, b, label in _characters(s)
    ]
    tokens = [
      {"text": w.text, "start": w.start, "end": w.end, "id": i, "ws": True}
      for i, w in enumerate(words)
    ]
    record = {"text": s.text, "spans": spans, "answer": "accept"}
    records.append({**record, "tokens": tokens, "_task_hash": 3})
    records.append({**record, "answer": "reject"})
    records.append({"text": "?", "answer": "ignore"})
  _lines(path, records)


def _regions(sentence: Sentence, units: bool) -> list[dict[str, Any]]:
  def offset(at: int) -> int:
    return len(sentence.text[:at].encode("utf-16-le")) // 2 if units else at

  return [
    {
      "start": offset(start),
      "end": offset(end),
      "text": sentence.text[start:end],
      "labels": [label],
    }
    for start, end, label in _characters(sentence)
  ]


def _label_studio(
  path: Path, sentences: Sequence[Sentence], units: bool = False
) -> None:
  tasks = [
    {
      "id": i,
      "data": {"title": "x", "text": s.text},
      "annotations": [
        {"result": [], "was_cancelled": True},
        {
          "was_cancelled": False,
          "result": [
            *(
              {"type": "labels", "value": v, "from_name": "label"}
              for v in _regions(s, units)
            ),
            {"type": "choices", "value": {"choices": ["good"]}},
          ],
        },
      ],
      "predictions": [],
    }
    for i, s in enumerate(sentences)
  ]
  path.write_text(json.dumps(tasks, indent=2, ensure_ascii=False), "utf-8")


def _label_studio_units(path: Path, sentences: Sequence[Sentence]) -> None:
  _label_studio(path, sentences, units=True)


def _label_studio_min(path: Path, sentences: Sequence[Sentence]) -> None:
  tasks: list[dict[str, Any]] = [
    {"text": s.text, "id": i, "label": _regions(s, False), "lead_time": 2.5}
    for i, s in enumerate(sentences)
  ]
  for task in tasks:
    if not task["label"]:  # As it writes a task without a region.
      del task["label"]
  path.write_text(json.dumps(tasks, ensure_ascii=False), "utf-8")


def _write_parquet(path: Path, sentences: Sequence[Sentence]) -> None:
  _needs("pyarrow")
  parquet.write(path, sentences)


def _write_docbin(path: Path, sentences: Sequence[Sentence]) -> None:
  _needs("spacy")
  docbin.write(path, sentences)


_WRITERS: list[tuple[str, bool, Callable[[Path, Sequence[Sentence]], None]]] = [
  ("a.tsv", False, formats.write_columns),
  ("a.jsonl", False, formats.write_jsonl),
  ("a.parquet", False, _write_parquet),
  ("a.spacy", False, _write_docbin),
  ("tags.jsonl", False, _datasets),
  ("numbers.jsonl", False, _numbered_datasets),
  ("prodigy.jsonl", False, _prodigy),
  ("studio.json", True, _label_studio),
  ("units.json", True, _label_studio_units),
  ("min.json", True, _label_studio_min),
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("name", "plain", "write"), _WRITERS)
def test_random_corpora_there_and_back(
  name: str, plain: bool, write: Callable, seed: int, tmp_path: Path
):
  corpus = _corpus(seed, plain=plain)
  assert sum(len(s.spans) for s in corpus) > 20
  write(tmp_path / name, corpus)
  read = formats.read(tmp_path / name)
  assert [s.words for s in read] == [s.words for s in corpus]
  assert [s.spans for s in read] == [s.spans for s in corpus]
  assert all(s.source.startswith(f"{tmp_path / name}:") for s in read)


def test_predictions_of_random_corpora(tmp_path: Path):
  corpus = _corpus(9)
  found = [[ScoredSpan(*span, 0.5) for span in s.spans] for s in corpus]
  bare = [Sentence(s.words) for s in corpus]
  formats.write_jsonl(tmp_path / "a.jsonl", bare, found)
  read = formats.read(tmp_path / "a.jsonl", predicted=True)
  assert [s.spans for s in read] == [s.spans for s in corpus]


_GOLD = {"start": 0, "end": 3, "label": "name"}
_TAGS = {"tokens": ["Ada", "lives"], "ner_tags": ["B-name", "O"]}
_PRODIGY = {"text": "Ada lives", "spans": [_GOLD], "answer": "accept"}
_REGION = {"start": 0, "end": 3, "text": "Ada", "labels": ["name"]}


@pytest.mark.parametrize("record", [_TAGS, _PRODIGY])
@pytest.mark.parametrize(
  "entities", [[], [Entity("lives", "verb", 4, 9, 0.5, 1, 2)]]
)
def test_what_was_predicted_is_read_not_what_it_came_with(
  tmp_path: Path, record: Any, entities: list[Entity]
):
  row = documents.json_row(json.dumps(record), "a")
  _lines(tmp_path / "a.jsonl", [output_formats.record(row, entities)])
  (found,) = formats.read(tmp_path / "a.jsonl", predicted=True)
  assert found.spans == tuple(Span(1, 2, e.label) for e in entities)


@pytest.mark.parametrize(
  ("name", "records"),
  [
    ("ours.json", [{"text": "Ada lives", "entities": [_GOLD]}]),
    ("tasks.json", [{"text": "Ada lives", "entities": [_REGION], "other": []}]),
    ("tasks.json", [{"text": "Ada lives", "x": [_REGION], "y": [_GOLD]}]),
    (
      "tasks.json",
      [
        {
          "data": {"text": "Ada lives"},
          "annotations": [
            {
              "result": [
                {"type": "labels", "value": _REGION},
                {"type": "choices", "value": {**_GOLD, "choices": ["x"]}},
                {"type": "relation"},
              ]
            }
          ],
        }
      ],
    ),
  ],
)
def test_lists(tmp_path: Path, name: str, records: Any):
  (tmp_path / name).write_text(json.dumps(records, indent=1))
  (found,) = formats.read(tmp_path / name)
  assert found.words == ("Ada", "lives")
  assert found.spans == (Span(0, 1, "name"),)


@pytest.mark.parametrize(
  ("record", "said"),
  [
    (_PRODIGY | {"entities": []}, ":1: key 'spans' is unknown; use text,"),
    (_TAGS | {"entities": []}, ":1: key 'ner_tags' is unknown; use text,"),
    (
      {"text": "a", "entities": [], "_input_hash": 1},
      ":1: key '_input_hash' is unknown; use text,",
    ),
    (
      {"text": "a", "entities": [], "data": "x"},
      ":1: key 'data' is unknown; use text,",
    ),
  ],
)
def test_entities_are_never_left_aside(tmp_path: Path, record: Any, said: str):
  _lines(tmp_path / "a.jsonl", [record])
  with pytest.raises(UserError, match=re.escape(said)):
    formats.read(tmp_path / "a.jsonl")


def test_parquet_has_what_datasets_reads(tmp_path: Path):
  _needs("pyarrow")
  import pyarrow.parquet

  parquet.write(tmp_path / "a.parquet", [Sentence(("Bo",), (Span(0, 1, "x"),))])
  table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
  assert table.to_pylist() == [{"tokens": ["Bo"], "ner_tags": [1]}]
  info = json.loads(table.schema.metadata[b"huggingface"])["info"]
  assert info["features"]["ner_tags"] == {
    "feature": {"names": ["O", "B-x", "I-x"], "_type": "ClassLabel"},
    "_type": "List",
  }


def test_parquet_of_records(tmp_path: Path):
  _needs("pyarrow")
  import pyarrow
  import pyarrow.parquet

  entities = [{"start": 0, "end": 2, "label": "x"}]
  row = {"text": "Bo ran", "entities": entities, "more": 3}
  rows = [{**row, "pos": None}, {**row, "pos": ["N", "V"]}]
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  first, second = formats.read(path)
  assert (first.words, first.spans) == (("Bo", "ran"), (Span(0, 1, "x"),))
  assert (first.pos, second.pos) == ((), ("N", "V"))
  assert (first.source, second.source) == (f"{path}: row 1", f"{path}: row 2")


def test_docbin_of_spacy(tmp_path: Path):
  _needs("spacy")
  import spacy
  from spacy.tokens import DocBin

  nlp = spacy.blank("en")
  nlp.add_pipe("sentencizer")
  doc = nlp("  Old Paris\n grew.  Bo left!")
  doc.set_ents([doc.char_span(2, 11, "x"), doc.char_span(20, 22, "y")])
  DocBin(docs=[doc, nlp.make_doc("")]).to_disk(tmp_path / "a.spacy")
  first, second = formats.read(tmp_path / "a.spacy")
  assert (first.words, first.spans) == (
    ("Old", "Paris", "grew", "."),
    (Span(0, 2, "x"),),
  )
  assert (second.words, second.spans) == (
    ("Bo", "left", "!"),
    (Span(0, 1, "y"),),
  )


def _tagged(contents: list, name: str) -> bytes:
  ner = SplitNER(tiny_system.Capitals())  # type: ignore[arg-type]
  rows = [Row(c, {"id": i}, 1) for i, c in enumerate(contents)]
  style = output_formats.Style(ner.labels, ner.sentences)
  tagged = zip(rows, ner.predict(contents), strict=True)
  parts = output_formats.FORMATS[name](tagged, style)
  return b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)


def test_docbin_of_tagged_texts():
  """Its texts are those given, to the character, and so are offsets."""
  _needs("spacy")
  import spacy
  from spacy.tokens import DocBin

  rng = np.random.default_rng(0)
  pieces = [*_ODD, *[" ", "\n", "Ab", ".", "a"] * 1500]
  texts = ["".join(rng.choice(pieces, n)) for n in rng.integers(0, 60, 150)]
  contents = [*texts, ["Old", "New York", "x"], []]
  data = _tagged(contents, "docbin")
  docs = list(DocBin().from_bytes(data).get_docs(spacy.blank("xx").vocab))
  ner = SplitNER(tiny_system.Capitals())  # type: ignore[arg-type]
  wanted = ner.predict(contents)
  assert [doc.text for doc in docs] == [*texts, "Old New York x", ""]
  assert sum(map(len, wanted)) > 150
  for i, (doc, entities) in enumerate(zip(docs, wanted, strict=True)):
    assert [
      (e.text, e.label_, e.start_char, e.end_char, e._.score) for e in doc.ents
    ] == [entity[:5] for entity in entities]
    assert doc.user_data["record"] == {"id": i}
  data = _tagged(["Old Paris \n grew."], "docbin")
  [doc] = DocBin().from_bytes(data).get_docs(spacy.blank("xx").vocab)
  assert [t.text for t in doc] == ["Old", "Paris", "\n ", "grew", "."]


_BAD = {
  "a.jsonl": [
    ('{"tokens": ["a"], "ner_tags": [1]}', ":1: word 0: tag 1 is a number wit"),
    ('{"tokens": ["a"], "ner_tags": ["I-x"]}\n'
     '{"tokens": ["a"], "ner_tags": ["B-x", "O"]}', ":2: 2 ner_tags for 1 tok"),
    ('{"tokens": ["a", "b"], "ner_tags": ["B-x", "E-y"]}', ":1: word 1: E-y "),
    ('{"tokens": ["a b"], "ner_tags": ["O"]}', ":1: word 'a b' must be a str"),
    ('{"tokens": [], "ner_tags": []}', ":1: no word in it"),
    ('{"tokens": ["a"], "ner_tags": [null]}', ":1: word 0: tag None is neith"),
    ('{"tokens": ["a"], "ner_tags": ["O"]}\n[]', ":2: not a JSON object"),
    ('{"text": "a b", "spans": [{"start": 0, "end": 9, "label": "x"}]}',
     ":1: entity 0: 0 to 9 is empty or outside 0 to 3"),
    ('{"text": "ab c", "spans": [{"start": 1, "end": 2, "label": "x"}]}',
     ":1: entity 'x' (1 to 2) cuts the word 'ab'"),
    ('{"text": "a", "spans": [{"start": 0, "end": 1}]}', ": 'label' must be"),
    ('{"text": "a", "spans": [3]}', ":1: entity 0: not a JSON object"),
    ('{"text": "a", "tokens": [{"start": 0, "end": 5}], "spans": []}',
     ":1: token 0: 0 to 5 is empty or outside the text"),
    ('{"text": "a", "answer": "reject"}', "jsonl: no sentence in it; give"),
    ('{"text": "a", "answer": "accept"}\n3', ":2: not a JSON object; export"),
  ],
  "a.json": [
    ('[{"data": {"text": "a"}, "annotations": []}]', ": task 1: 0 annotations"),
    ('[{"data": {"a": "b", "c": "d"}, "annotations": [{"result": []}]}]',
     ": task 1: no text in it; name its field 'text'"),
    ('[{"text": "ab"},\n{"text": "ab c", "x": [{"start": 0, "end": 2, '
     '"text": "bc", "labels": ["y"]}]}]',
     ": task 2: region 0: 0 to 2 is 'ab', not 'bc'; export it again"),
    ('[{"text": "a", "x": [{"start": 0, "end": 1, "labels": ["y", "z"]}]}]',
     ": task 1: region 0: labels ['y', 'z']; give it one"),
    ('[{"text": "a b", "x": [{"start": 0, "end": 1, "labels": ["y"]}, '
     '{"start": 2, "end": 3}]}]', ": task 1: region 1: labels None; give it o"),
    ('[{"text": "a", "x": [{"start": 0, "end": 1, "labels": ["y"]}, 3]}]',
     ": task 1: region 1: not a JSON object"),
    ('[{"data": {"text": "a"}, "annotations": [{"result": ['
     '{"type": "paragraphlabels"}]}]}]',
     ": task 1: a region of type 'paragraphlabels', which is not read; ann"),
    ('[{"text": "a"}, 3]', ": task 2: not a JSON object; export it again"),
    ('[{"text": "a"}', "a.json: not JSON ("),
    ("[{}]", ": task 1: no text in it"),
  ],
}  # fmt: skip


@pytest.mark.parametrize(
  ("name", "content", "said"),
  [(name, *case) for name, cases in _BAD.items() for case in cases],
)
def test_errors_name_the_place(
  name: str, content: str, said: str, tmp_path: Path
):
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError) as caught:
    formats.read(tmp_path / name)
  message = str(caught.value)
  assert said in message
  assert message.startswith(str(tmp_path / name))
  assert "\n" not in message


def test_a_number_without_a_name(tmp_path: Path):
  row = {"tokens": ["a"], "ner_tags": [9]}
  _lines(tmp_path / "a.jsonl", [row])
  info = tmp_path / "dataset_info.json"
  names = {"feature": {"names": ["O"], "_type": "ClassLabel"}}
  info.write_text(json.dumps({"features": {"ner_tags": names}}))
  with pytest.raises(UserError, match="tag 9 is none of the 1 that have names"):
    formats.read(tmp_path / "a.jsonl")
  info.write_text("{")
  with pytest.raises(UserError, match=r"dataset_info.json: cannot be read \("):
    formats.read(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
  "info",
  [
    *([1], {"features": [1]}, {"features": {"ner_tags": []}}),
    *({"features": {"ner_tags": {"feature": []}}}, {"features": None}, 3),
  ],
)
def test_numbers_whose_names_nobody_says(tmp_path: Path, info: Any):
  _lines(tmp_path / "a.jsonl", [{"tokens": ["a"], "ner_tags": [0]}])
  (tmp_path / "dataset_info.json").write_text(json.dumps(info))
  with pytest.raises(UserError, match=r"a\.jsonl:1: "):
    formats.read(tmp_path / "a.jsonl")


def test_errors_of_binary_files(tmp_path: Path):
  _needs("pyarrow")
  _needs("spacy")
  import pyarrow
  import pyarrow.parquet
  import spacy
  from spacy.tokens import DocBin, Span

  for name in ("a.parquet", "a.spacy"):
    path = tmp_path / name
    with pytest.raises(UserError, match=f"{name}: no such file"):
      formats.read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(
      UserError, match=rf"{name}: (cannot be read as|is no D)"
    ):
      formats.read(path)
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(pyarrow.table({"words": [["a"]]}), path)
  with pytest.raises(UserError, match="neither a column 'tokens' nor 'text', "):
    formats.read(path)
  rows = pyarrow.table({"tokens": [["a"], ["b"]], "ner_tags": [[0], [1]]})
  pyarrow.parquet.write_table(rows, path)
  with pytest.raises(UserError, match="parquet: row 1: word 0: tag 0 is a num"):
    formats.read(path)

  path, nlp = tmp_path / "a.spacy", spacy.blank("en")
  doc = nlp.make_doc("Old Paris")
  DocBin(docs=[doc]).to_disk(path)
  with pytest.raises(UserError, match="document 1: does not say what its enti"):
    formats.read(path)
  doc[1].is_sent_start = True
  doc.ents = [Span(doc, 0, 2, "x")]
  DocBin(docs=[doc]).to_disk(path)
  with pytest.raises(UserError, match=r"1, sentence 1: entity 'x' \(0 to 2\) "):
    formats.read(path)


def test_without_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  for name, module in (("parquet", "pyarrow"), ("spacy", "spacy")):
    path = tmp_path / f"a.{name}"
    path.write_bytes(b"x")
    loaded = [m for m in sys.modules if m.partition(".")[0] == module]
    for each in (*loaded, module):
      monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(UserError) as caught:
      formats.read(path)
    assert str(caught.value) == (
      f'{path}: needs {module}; pip install "splitner_jax[{name}]"'
    )


def test_the_example_of_the_readme(tmp_path: Path):
  _needs("pyarrow")
  _needs("spacy")
  import spacy
  from spacy.tokens import DocBin

  text = (runs.ROOT / "README.md").read_text()
  [block] = re.findall(
    r"```sh\n(splitner check --train=train.sp.*?)```", text, re.S
  )
  corpus = _corpus(1)
  docbin.write(tmp_path / "train.spacy", corpus)
  parquet.write(tmp_path / "dev.parquet", corpus)
  _label_studio(tmp_path / "test.json", _corpus(1, plain=True))
  (tmp_path / "texts.txt").write_text("ada likes so so oslo bay .\nBo\n")
  model_folder.save(
    tmp_path / "runs/files/model", tiny_system.make(tmp_path / "backbones")
  )
  path = (
    f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
  )
  done = subprocess.run(
    ["bash", "-ec", block],
    cwd=tmp_path,
    env={
      **os.environ,
      "PATH": path,
      "JAX_NUM_CPU_DEVICES": "1",
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    },
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  for said in ("train.spacy: DocBin", "dev.parquet: Parquet", "json: JSONL"):
    assert said in done.stdout
  saved = DocBin().from_disk(tmp_path / "tagged.spacy")
  docs = list(saved.get_docs(spacy.blank("xx").vocab))
  assert [doc.text for doc in docs] == ["ada likes so so oslo bay .", "Bo"]
