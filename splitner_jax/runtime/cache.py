"""The folder where downloaded and prepared files are kept."""

import os
import pathlib


def cache_dir() -> pathlib.Path:
  """`$SPLITNER_CACHE`, else `splitner_jax` in the user's cache folder.

  It holds the default backbone (`all-MiniLM-L6-v2/`), original corpus files
  (`downloads/`) and prepared data sets (`tfds/`); all of it can be deleted.
  The set-up script computes the same path.
  """
  own = os.environ.get("SPLITNER_CACHE")
  if own:
    return pathlib.Path(own).expanduser()
  parent = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(parent).expanduser() / "splitner_jax"
