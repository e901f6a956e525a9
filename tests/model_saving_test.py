"""Saving a model: whole or not at all, whenever the process ends."""

import dataclasses
import pathlib
import shutil

import pytest

from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from tests import tiny_system


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return tiny_system.make(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="module")
def saved(
  trained: NerModel, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("saved") / "model"
  model_folder.save(folder, trained)
  return folder


@pytest.fixture
def copy(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(saved, tmp_path / "model"))


def names(folder: pathlib.Path) -> list[str]:
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_model_is_replaced(copy: pathlib.Path, trained: NerModel):
  (copy / "left-over").write_text("")
  model_folder.save(copy, dataclasses.replace(trained, card="new"))
  assert "left-over" not in names(copy)
  assert (copy / "README.md").read_text() == "new"
  assert names(copy.parent) == ["model", *(f"model/{n}" for n in names(copy))]


def test_an_empty_folder_is_used(tmp_path: pathlib.Path, trained: NerModel):
  model_folder.save(tmp_path, trained)
  assert "config.json" in names(tmp_path)


def test_anything_else_is_left_alone(tmp_path: pathlib.Path, trained: NerModel):
  (tmp_path / "thesis.tex").write_text("x")
  for target in (tmp_path, tmp_path / "thesis.tex"):
    with pytest.raises(UserError, match="is no model; move it away, or"):
      model_folder.save(target, trained)
  with pytest.raises(UserError, match=r"cannot be written \(Not a directory"):
    model_folder.save(tmp_path / "thesis.tex" / "model", trained)
  assert names(tmp_path) == ["thesis.tex"]


def test_whole_or_not_at_all(
  copy: pathlib.Path, trained: NerModel, monkeypatch: pytest.MonkeyPatch
):
  before = names(copy.parent)

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(model_folder, "write_safetensors", full)
  with pytest.raises(UserError, match="No space left"):
    model_folder.save(copy, trained)
  assert names(copy.parent) == before
  assert model_folder.load(str(copy)).card == trained.card


_FULL = Exception("No space left on device (os error 28)")


@pytest.mark.parametrize(
  ("error", "expected", "match"),
  [
    # As tokenizers say it.
    (_FULL, UserError, r"new: cannot be written \(No space left on device\);"),
    (ZeroDivisionError("x"), ZeroDivisionError, "x"),
  ],
)
def test_nothing_is_left_of_a_new_model(
  error: Exception,
  expected: type[Exception],
  match: str,
  tmp_path: pathlib.Path,
  trained: NerModel,
  monkeypatch: pytest.MonkeyPatch,
):
  def save(_, folder: pathlib.Path):
    (folder / "tokenizer.json").write_text("{")
    raise error

  tokenizer = trained.tasks["detector"].tokenizer
  monkeypatch.setattr(type(tokenizer.fast), "save_pretrained", save)
  with pytest.raises(expected, match=match):
    model_folder.save(tmp_path / "new", trained)
  assert not names(tmp_path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_one(
  is_there: bool, tmp_path: pathlib.Path, trained: NerModel
):
  """As to another disk, to which nothing can be renamed."""
  target, link = tmp_path / "disk" / "kept", tmp_path / "run" / "model"
  link.parent.mkdir()
  link.symlink_to(target)
  if is_there:
    target.mkdir(parents=True)
  # What came of such a link before.
  (link.parent / ".model.previous").symlink_to(target)
  for card in ("one", "two"):
    model_folder.save(link, dataclasses.replace(trained, card=card))
    assert model_folder.load(str(link)).card == card
    assert link.is_symlink()
    assert names(target.parent)[0] == "kept"
    assert "kept/config.json" in names(target.parent)


def test_a_failed_rename_keeps_what_was_there(
  copy: pathlib.Path, trained: NerModel, monkeypatch: pytest.MonkeyPatch
):
  rename = pathlib.Path.rename

  def refuse(self: pathlib.Path, target: pathlib.Path):
    if self.suffix == ".new":
      raise OSError(13, "Permission denied")
    return rename(self, target)

  monkeypatch.setattr(pathlib.Path, "rename", refuse)
  with pytest.raises(UserError, match="Permission denied"):
    model_folder.save(copy, dataclasses.replace(trained, card="new"))
  assert names(copy.parent) == ["model", *(f"model/{n}" for n in names(copy))]
  assert (copy / "README.md").read_text() == trained.card


class _Killed(BaseException):
  """Stands in for SIGKILL: nothing is done any more, cleaning up included."""


def _die_at(moment: int, patch: pytest.MonkeyPatch) -> None:
  """Ends the process before so many-th of what changes the disk."""
  left = [moment]

  def watched(do):
    def act(*args, **options):
      left[0] -= 1
      if left[0] < 0:
        raise _Killed
      return do(*args, **options)

    return act

  for owner, name in (
    (pathlib.Path, "mkdir"),
    (pathlib.Path, "rename"),
    (pathlib.Path, "replace"),
    (pathlib.Path, "write_bytes"),
    (shutil, "rmtree"),
  ):
    patch.setattr(owner, name, watched(getattr(owner, name)))


def test_killed_at_any_moment_a_model_is_there(
  copy: pathlib.Path, trained: NerModel
):
  new, seen = dataclasses.replace(trained, card="new"), []
  for moment in range(100):
    with pytest.MonkeyPatch.context() as patch:
      _die_at(moment, patch)
      try:
        model_folder.save(copy, new)
      except _Killed:
        pass
      else:
        break
    # The next start, whatever it is.
    seen.append(model_folder.load(str(copy)).card)
    model_folder.save(copy, trained)
    assert names(copy.parent) == ["model", *(f"model/{n}" for n in names(copy))]
  # Kills before, between and after the two renames.
  assert seen == sorted(seen)
  assert set(seen) == {trained.card, "new"}
  assert len(seen) > 6
  assert model_folder.load(str(copy)).card == "new"


def test_a_decoding_is_one_file(copy: pathlib.Path, trained: NerModel):
  def written():
    return {p.name: p.stat().st_mtime_ns for p in copy.iterdir() if p.is_file()}

  before = written()
  decoding = Decoding(-1.5, 3.0, Thresholds(0.1, {"thing": 0.7}))
  model_folder.save_decoding(copy, decoding)
  changed = {name for name, when in written().items() if before[name] != when}
  assert changed == {"config.json"}
  loaded = model_folder.load(str(copy))
  assert loaded.decoding == decoding
  assert loaded.card == trained.card
  with pytest.raises(UserError, match="no model of splitner_jax"):
    model_folder.save_decoding(copy.parent, decoding)
