"""A model on its way to the Hugging Face hub."""

import tempfile

import huggingface_hub

from splitner_jax.inference import model_files, model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.systems import SYSTEMS


def push(repo_id: str, model: NerModel, *, private: bool | None) -> None:
  """Puts a model on the hub, in one commit.

  Of a model that was there nothing stays: its tokenizers would be read.

  Args:
    repo_id, private: of `SplitNER.push_to_hub`.
    model: the model.

  Raises:
    UserError: the hub refuses, or cannot be reached.
  """
  with tempfile.TemporaryDirectory() as parent:
    folder = f"{parent}/model"
    model_folder.save(folder, model)
    try:
      huggingface_hub.create_repo(repo_id, private=private, exist_ok=True)
      huggingface_hub.upload_folder(
        repo_id=repo_id, folder_path=folder, delete_patterns=_files()
      )
    except Exception as e:  # The HTTP library's errors are not the hub's.
      reason = " ".join(f"{type(e).__name__}: {e}".split())
      raise UserError(
        f"{repo_id}: cannot be uploaded ({reason[:160]}); check the name, "
        "and log in with `hf auth login`"
      ) from e


def _files() -> list[str]:
  """What models of ours may have, by name: all else is its owner's."""
  tasks = sorted({t for kind in SYSTEMS.values() for t in kind.task_names})
  weights = [f"{task}.safetensors" for task in tasks]
  return [*weights, *model_files.tokenizer_files(tasks)]
