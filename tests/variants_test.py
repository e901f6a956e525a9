"""Every system and setting: trains, resumes, is scored, saved and used."""

import json
import pathlib
from collections.abc import Iterator

import jax
import pytest
from ml_collections import ConfigDict

from configs import common, wnut17
from splitner_jax import SplitNER
from splitner_jax.experiment import run, seeds
from splitner_jax.runtime.buckets import DISK
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import MentionTask
from splitner_jax.tasks.systems import SYSTEMS
from splitner_jax.training.checkpoints import Checkpoints
from tests import tiny


@pytest.fixture(autouse=True)
def forget_each() -> Iterator[None]:
  """See `conftest.forget_compiled`; here each test compiles very much."""
  yield
  jax.clear_caches()


def _config(folder: pathlib.Path, variant: str | None, **fields) -> ConfigDict:
  config = wnut17.get_config(variant)
  if not folder.exists():
    tiny.make_backbone(folder / "backbone")
    tiny.make_wnut(folder / "data")
  config.backbone = str(folder / "backbone")
  config.data.dir = str(folder / "data")
  config.update_from_flattened_dict(
    {
      "epochs": 8,
      "batch_size": 8,
      "max_length": 160,
      "learning_rate": 0.01,
      **fields,
    }
  )
  return config


class _CutOffError(Exception):
  pass


def _cut_off(config, workdir: pathlib.Path, task: str) -> None:
  """Starts the run, which ends at the third checkpoint of a task."""
  whole, calls = Checkpoints.save_latest, []

  def watched(self, step, *args, **kwargs):
    if f"/{task}/" in str(self._folder):
      calls.append(step)
      if len(calls) == 3:
        self.wait()
        raise _CutOffError
    return whole(self, step, *args, **kwargs)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Checkpoints, "save_latest", watched)
    with pytest.raises(_CutOffError):
      run.run(config, workdir)
  assert not (workdir / "report.json").exists()


# The features take longer to learn.
_LONGER = {"epochs": 12, "patience": 12, "learning_rate": 0.005}
# The slow part is compiling them: one is enough for CI, where two steps have
# their own below, and are cut off in train_test.
_VARIANTS = [
  ("single_qa", "tagger", {"tagger.features": "none", "epochs": 4}),
]
_SLOW = [
  ("no_char_pattern", "classifier", {}),
  (None, "detector", _LONGER),
  ("single_seqtag", "tagger", {"tagger.features": "none"}),
  ("seqtag_qa", "classifier", {"detector.features": "pattern"}),
  ("single_seqtag", "tagger", {"tagger.scheme": "BIOES", **_LONGER}),
  ("single_qa,paper", "tagger", _LONGER),
  ("single_qa", "tagger", {}),
  (
    None,
    "detector",
    {
      "system": "hierarchical",
      "detector.groups": "person;location",
      "detector.features": "char+shape+affix+capitals+gazetteer",
      **_LONGER,
    },
  ),
]


@pytest.mark.parametrize(
  ("variant", "cut", "fields"),
  [*_VARIANTS, *(pytest.param(*v, marks=pytest.mark.slow) for v in _SLOW)],
)
def test_a_system_from_start_to_use(
  variant, cut, fields, session_cache, tmp_path
):
  # Writing takes time: so often only where a run is cut off.
  fields = {"checkpoint_every": 3, **fields}
  config = _config(session_cache / "variants", variant, **fields)
  workdir = tmp_path / "run"
  _cut_off(config, workdir, cut)
  result = run.run(config, workdir)

  written = json.loads((workdir / "report.json").read_text())
  assert json.loads(json.dumps(result)) == written
  single = (variant or "").startswith("single")
  for split in ("dev", "test"):
    scores = result[split]
    # Far above chance, which finds next to none.
    assert scores["detection"]["f1"] > 30
    assert scores["all_sentences"]["gold"] == scores["gold_mentions"] == 24
    assert ("classification_on_gold" in scores) == (not single)
    assert (workdir / f"errors-{split}.md").exists()
    assert (workdir / f"errors-{split}.png").exists()
  merged = result["test"]["reference_protocol"]["sentences"]
  assert merged == 12 or not single
  name = SYSTEMS[config.system].title
  assert f"# {name} on wnut17" in (workdir / "report.md").read_text()
  assert f"# {name} on wnut17" in (workdir / "model" / "README.md").read_text()

  # The model tags what the run tagged.
  ner = SplitNER.from_pretrained(str(workdir / "model"))
  labels = _check_same_as_the_run(ner, workdir)
  assert labels <= {"location", "person"}


def _check_same_as_the_run(ner: SplitNER, workdir: pathlib.Path) -> set[str]:
  """Returns the types that were found."""
  text = (workdir / "predictions" / "test.jsonl").read_text()
  rows = [json.loads(line) for line in text.split("\n") if line]
  found = [
    {(e.first_word, e.end_word, e.label) for e in entities}
    for entities in ner.predict([row["tokens"] for row in rows])
  ]
  assert found == [
    {(s["start"], s["end"], s["label"]) for s in row["predicted"]}
    for row in rows
  ]
  assert any(found)
  return {label for row in found for _, _, label in row}


@pytest.mark.slow
def test_the_two_steps_joined(session_cache, tmp_path, monkeypatch):
  """False spans of detectors that did not see them, and a tuned O."""
  learnt: list[int] = []
  whole = MentionTask.training_examples

  def watched(self, sentences):
    examples, lost = whole(self, sentences)
    learnt.append(len(examples.targets))
    return examples, lost

  monkeypatch.setattr(MentionTask, "training_examples", watched)
  config = _config(
    session_cache / "variants",
    "no_char_pattern",
    **{
      "classifier.none_class": True,
      "classifier.pooling": "mention",
      "classifier.loss": "weighted_cross_entropy",
      "tune_decoding": True,
      "detector.loss": "focal",
      "detector.epochs": 4,
      "classifier.epochs": 4,
    },
  )
  result = run.run(config, tmp_path / "run")
  training = result["training"]
  assert training.keys() == {
    "detector", "detector-fold0", "detector-fold1", "classifier",
  }  # fmt: skip
  folds = [training[f"detector-fold{i}"]["examples"] for i in (0, 1)]
  assert sum(folds) == training["detector"]["examples"] == 40
  assert min(folds) > 5
  assert learnt[0] > 80  # The gold mentions.
  assert training["classifier"]["examples"] >= 40  # The sentences.
  chosen = result["decoding"]
  assert chosen["f1"] >= chosen["f1_before"]
  assert result["dev"]["all_sentences"]["f1"] == pytest.approx(chosen["f1"])
  # The model has the class and the bias too.
  ner = SplitNER.from_pretrained(str(tmp_path / "run" / "model"))
  _check_same_as_the_run(ner, tmp_path / "run")


def test_frozen_backbone_and_part_of_speech(tmp_path):
  """On files that have the column; raw text has none to read."""
  tiny.make_backbone(tmp_path / "backbone")
  tiny.make_wnut(tmp_path / "data")
  for path in (tmp_path / "data").iterdir():
    lines = path.read_text().split("\n")
    tagged = [
      "\t".join((w, "NNP" if t != "O" else "X", t)) if line else ""
      for line in lines
      for w, _, t in [line.partition("\t")]
    ]
    path.write_text("\n".join(tagged))
  config = common.get_config()
  config.update_from_flattened_dict(
    {
      "backbone": str(tmp_path / "backbone"),
      "data.train": str(tmp_path / "data" / "wnut17train.conll"),
      "data.dev": str(tmp_path / "data" / "emerging.dev.conll"),
      "data.test": str(tmp_path / "data" / "emerging.test.annotated"),
      "data.pos_column": 1,
      "detector.features": "pos",
      "detector.learning_rate": 0.05,
      "freeze_backbone": True,
      "epochs": 10,
      "batch_size": 8,
      "max_length": 160,
      "learning_rate": 0.01,
    }
  )
  result = run.run(config, tmp_path / "run")
  # The part of speech says it all.
  assert result["dev"]["detection"]["f1"] > 90
  # Of the test sentences as text there is no score, and nobody can tag text.
  assert result["test"]["all_sentences"]["f1"] > 0
  assert "raw_text" not in result["test"]
  # What it has learned is of these parts of speech.
  claimed = json.loads((tmp_path / "run" / "config.json").read_text())
  assert set(claimed["sources"]) == {
    *("detector", "classifier", "parts_of_speech")
  }
  path = tmp_path / "data" / "wnut17train.conll"
  path.write_text(path.read_text().replace("NNP", "NN"))
  with pytest.raises(UserError, match=r"sources\.parts_of_speech is"):
    run.run(config, tmp_path / "run")
  with pytest.raises(
    ValueError, match="reads parts of speech, which text does"
  ):
    SplitNER.from_pretrained(str(tmp_path / "run" / "model"))


def test_seeds(session_cache, tmp_path, capsys):
  config = _config(
    session_cache / "variants",
    "single_seqtag",
    **{"tagger.features": "none", "seeds": "3,5", "epochs": 4},
  )
  result = run.run(config, tmp_path / "run")
  each = [
    json.loads((tmp_path / "run" / f"seed-{s}" / "report.json").read_text())
    for s in (3, 5)
  ]
  assert [one["config"]["seed"] for one in each] == [3, 5]
  f1 = result["test"]["all_sentences"]["f1"]
  assert f1["values"] == [one["test"]["all_sentences"]["f1"] for one in each]
  assert f1["values"][0] != f1["values"][1]
  assert f1["mean"] == pytest.approx(sum(f1["values"]) / 2)
  assert f1["deviation"] == pytest.approx(
    abs(f1["values"][0] - f1["values"][1]) / 2**0.5
  )
  assert "Single(SeqTag), all sentences" in capsys.readouterr().out

  folder = tmp_path / "run" / "seed-3"
  ner = SplitNER.from_pretrained(str(folder / "model"))
  _check_same_as_the_run(ner, folder)

  # What is done is not done again; what is not, is.
  old = tmp_path / "run" / "seed-3" / "report.json"
  before = old.stat().st_mtime_ns
  (tmp_path / "run" / "seed-5" / "report.json").unlink()
  assert run.run(config, tmp_path / "run") == result
  assert old.stat().st_mtime_ns == before
  # Nor are seeds of other weights put beside those that are done.
  weights = session_cache / "variants" / "backbone" / "model.safetensors"
  was = weights.read_bytes()
  try:
    weights.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
    with pytest.raises(UserError, match=r"another run \(sources\.tagger is"):
      run.run(config, tmp_path / "run")
  finally:
    weights.write_bytes(was)
  of_seed = ConfigDict(each[0]["config"])
  content = each[0]["corpus"]["content_hash"]
  assert seeds._finished(of_seed, folder, content, DISK)
  assert seeds._finished(of_seed, folder, "other data", DISK) is None
  (folder / "model").rename(folder / "gone")
  assert seeds._finished(of_seed, folder, content, DISK) is None
