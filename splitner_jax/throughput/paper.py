"""The times of the paper (Split-NER, ACL 2023), to stand beside ours."""

from splitner_jax.runtime.types import Json

CORPORA = ("bionlp13cg", "ctireports", "ontonotes", "wnut17")

# Table 3, on a V100: seconds of an epoch of training, and of tagging the test
# split, on each of the corpora.
_SECONDS = {
  "train": {
    "splitner": (241.2, 1455.7, 3007.8, 122.9),
    "single_qa": (1372.8, 8771.0, 73818.4, 568.2),
    "single_seqtag": (102.2, 6425.9, 9181.1, 101.3),
  },
  "inference": {
    "splitner": (57.7, 120.0, 183.0, 26.0),
    "single_qa": (323.3, 551.6, 2227.8, 91.2),
    "single_seqtag": (25.2, 86.4, 105.0, 18.6),
  },
}


def ratios(corpus: str) -> Json:
  """How many times as fast SplitNER is, by phase and system.

  Args:
    corpus: its name; empty if the paper does not have it.
  """
  if corpus not in CORPORA:
    return {}
  column = CORPORA.index(corpus)
  return {
    phase: {
      system: row[column] / rows["splitner"][column]
      for system, row in rows.items()
      if system != "splitner"
    }
    for phase, rows in _SECONDS.items()
  }
