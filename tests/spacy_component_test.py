"""The component of spaCy."""

import pathlib
import re
import shutil
import unicodedata

import numpy as np
import pytest

from splitner_jax import SplitNER
from splitner_jax.runtime.errors import UserError
from tests import runs, tiny_system

spacy = pytest.importorskip("spacy", reason="needs the extra spacy")

from spacy.tokens import Doc, DocBin, Span  # noqa: E402  Only after the skip.
from spacy.training import Example  # noqa: E402

from splitner_jax.integrations.spacy_component import (  # noqa: E402
  SplitNERComponent,
)

TEXT = "Ana moved to ROME. Bo  saw \n Old Paris, then rain fell."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tiny_system.save(tmp_path_factory.mktemp("spacy"))


def _capitals(**options) -> SplitNERComponent:
  return SplitNERComponent(ner=SplitNER(tiny_system.Capitals()), **options)


def _entities(doc: Doc) -> list[tuple[str, str, float]]:
  return [(e.text, e.label_, e._.score) for e in doc.ents]


def test_entities_are_those_of_the_tokens(folder: pathlib.Path):
  nlp = spacy.blank("en")
  nlp.add_pipe("splitner", config={"model": str(folder), "threshold": 0.0})
  doc = nlp("ada likes so so oslo bay .")
  words = [token.text for token in doc]
  [wanted] = SplitNER.from_pretrained(str(folder)).predict([words], threshold=0)
  assert wanted
  found = [(e.start, e.end, e.label_) for e in doc.ents]
  assert found == [(e.first_word, e.end_word, e.label) for e in wanted]
  np.testing.assert_allclose(
    [e._.score for e in doc.ents], [e.score for e in wanted], rtol=1e-5
  )
  assert nlp.analyze_pipes()["summary"]["splitner"]["assigns"] == [
    *("doc.ents", "token.ent_iob", "token.ent_type")
  ]


def test_blanks_are_no_words():
  doc = _capitals()(spacy.blank("en")(TEXT))
  assert _entities(doc) == [
    ("Ana", "name", 0.5),
    ("ROME", "WORLD", 0.5),
    # Sentence by sentence: ROME does not run on into Bo.
    ("Bo", "name", 0.5),
    ("Old Paris", "name", 0.6),
  ]
  assert len(_capitals()(spacy.blank("en")(" \n\t ")).ents) == 0
  assert len(_capitals()(spacy.blank("en")("")).ents) == 0
  # Blanks within are of the mention.
  doc = _capitals()(spacy.blank("en")("Old  Paris"))
  assert _entities(doc) == [("Old  Paris", "name", 0.6)]


def test_sentences_that_are_known_are_kept():
  vocab = spacy.blank("en").vocab
  words = ["Old", "Paris", "Is", "Big"]
  doc = Doc(vocab, words=words, sent_starts=[True, False, True, False])
  assert [e.text for e in _capitals()(doc).ents] == ["Old Paris", "Is Big"]


@pytest.mark.parametrize(
  ("overlaps", "wanted"),
  [
    ("keep", [("moved", None), ("Old", None), ("ROME", 0.5)]),
    ("replace", [("moved", None), ("Old Paris", 0.6), ("ROME", 0.5)]),
    ("clear", [("Old Paris", 0.6), ("ROME", 0.5)]),
  ],
)
def test_entities_that_are_there(overlaps: str, wanted: list):
  doc = spacy.blank("en")("moved Old Paris to ROME")
  doc.ents = [Span(doc, 0, 1, "verb"), Span(doc, 1, 2, "age")]
  doc = _capitals(overlaps=overlaps)(doc)
  assert [(e.text, e._.score) for e in doc.ents] == wanted


def test_a_pipe_tags_texts_together():
  component = _capitals()
  model = component.ner.model
  texts = [f"Bo {i} likes Old Paris." if i % 7 else "" for i in range(500)]
  nlp = spacy.blank("en")
  docs = list(component.pipe(nlp.pipe(texts)))
  assert [doc.text for doc in docs] == texts
  together, model.words = model.words, []
  assert len(together) < 10
  assert [_entities(component(nlp(t))) for t in texts] == [
    _entities(doc) for doc in docs
  ]
  assert len(model.words) == sum(map(bool, texts))


def test_a_pipe_does_not_read_all():
  read = 0

  def docs():
    nonlocal read
    nlp = spacy.blank("en")
    for _ in range(100_000):
      read += 1
      yield nlp.make_doc("Bo likes Old Paris.")

  found = _capitals().pipe(docs())
  assert len(next(found).ents) == 2
  assert read < 2_000
  found.close()


def test_threshold_and_labels():
  doc = spacy.blank("en")("Bo saw Old Paris and ROME")
  assert [e.text for e in _capitals(threshold=0.55)(doc.copy()).ents] == [
    "Old Paris"
  ]
  component = _capitals(labels=["WORLD"])
  assert component.labels == ("WORLD",)
  assert [e.text for e in component(doc.copy()).ents] == ["ROME"]


def test_a_saved_pipeline_has_its_model(
  folder: pathlib.Path, tmp_path: pathlib.Path
):
  moved = shutil.copytree(folder, tmp_path / "gone")
  nlp = spacy.blank("en")
  nlp.add_pipe("splitner", config={"model": str(moved), "threshold": 0.0})
  text = "ada likes so so oslo bay ."
  wanted = _entities(nlp(text))
  assert wanted
  nlp.to_disk(tmp_path / "pipeline")
  nlp.to_disk(tmp_path / "pipeline")
  data = nlp.to_bytes()
  shutil.rmtree(moved)
  assert _entities(spacy.load(tmp_path / "pipeline")(text)) == wanted
  other = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
  assert _entities(other.from_bytes(data)(text)) == wanted


def test_scores_are_saved_with_documents():
  nlp = spacy.blank("en")
  doc = _capitals()(nlp("Bo saw Old Paris."))
  saved = DocBin(docs=[doc], store_user_data=True).to_bytes()
  [read] = DocBin().from_bytes(saved).get_docs(nlp.vocab)
  assert _entities(read) == _entities(doc)
  assert _entities(Doc(nlp.vocab).from_bytes(doc.to_bytes())) == _entities(doc)


def test_scores_of_an_evaluation():
  nlp = spacy.blank("en")
  example = Example(
    _capitals()(nlp("Bo saw ROME.")), nlp.make_doc("Bo saw ROME.")
  )
  example.reference.ents = [Span(example.reference, 0, 1, "name")]
  scores = _capitals().score([example])
  assert (scores["ents_p"], scores["ents_r"]) == (0.5, 1.0)


def test_offsets_are_exact_in_any_text():
  rng = np.random.default_rng(5)
  codes = [
    c
    for c in [
      *range(1, 0x3000),
      *range(0xF900, 0x11000),
      *range(0x1F300, 0x1FAFF),
    ]
    if unicodedata.category(chr(c)) not in ("Cs", "Cn")
  ]
  pieces = [
    *map(chr, codes),
    *(["Ab", " ", "\n", "\u200d", "\u0301", "É"] * 900),
  ]
  component, nlp, seen = _capitals(), spacy.blank("xx"), 0
  for _ in range(200):
    text = "".join(rng.choice(pieces, rng.integers(0, 80)))
    doc = component(nlp(text))
    for entity in doc.ents:
      seen += 1
      assert text[entity.start_char : entity.end_char] == entity.text
      words = [t.text for t in entity if not t.is_space]
      assert all(word[:1].isupper() for word in words)
      assert not entity[0].is_space
      assert not entity[-1].is_space
  assert seen > 200


def test_mistakes_are_one_line(tmp_path: pathlib.Path):
  nlp = spacy.blank("en")
  with pytest.raises(UserError, match=r"^splitner: no model; give add_pipe"):
    nlp.add_pipe("splitner")
  with pytest.raises(UserError, match="overlaps 'x' is none of keep, replace"):
    _capitals(overlaps="x")
  with pytest.raises(UserError, match="threshold: 2 is no score"):
    _capitals(threshold=2)
  nlp.add_pipe("splitner", config={"model": str(tmp_path / "no")})
  with pytest.raises(UserError, match="no"):
    nlp("Text")
  data = spacy.util.srsly.msgpack_dumps({"../x": b""})
  with pytest.raises(UserError, match=r"'../x' is no file of a model"):
    _capitals().from_bytes(data)


def test_the_example_of_the_readme(folder: pathlib.Path, monkeypatch):
  text = (runs.ROOT / "README.md").read_text()
  [code] = re.findall(r"```python\n(import spacy\n.*?)```", text, re.S)
  runs_folder = folder.parent / "work"
  runs_folder.mkdir()
  (runs_folder / "runs").mkdir()
  (runs_folder / "runs/files").symlink_to(folder.parent)
  monkeypatch.chdir(runs_folder)
  exec(code, {})
