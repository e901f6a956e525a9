"""Mutants that no test can kill: what they change makes no difference."""

_ONE_BY_ONE = "examples come one by one"
_NO_MENTION = "it is not read before a mention has begun"
_OF_O = "the type of O is None, as is what is open before it"
_BLOCKS = "the draws are the same in blocks of any size"
_NOT_BELOW_0 = "no weight is below 0"
_BATCH_TASTE = "any number near it is as good"

_REASONS = {
  (
    "inputs/packing",
    "if targets > self.shape.targets or len(self) >= packer.most:",
  ): _ONE_BY_ONE,
  ("inputs/packing", "POOL = 63"): _BATCH_TASTE,
  ("inputs/packing", "POOL = 65"): _BATCH_TASTE,
  (
    "data/tags",
    "rows: list[tuple[str | None, bool, bool]] = [(None, True, False)]",
  ): _OF_O,
  (
    "data/tags",
    "rows: list[tuple[str | None, bool, bool]] = [(None, False, True)]",
  ): _OF_O,
  (
    "data/tags",
    'if prefix <= "B" and scheme == "IOB1" and not continues:',
  ): "B is the first of the prefixes",
  ("data/tags", "word = not 1"): _NO_MENTION,
  ("data/tags", "word = ~1"): _NO_MENTION,
  ("data/tags", "word = - 2"): _NO_MENTION,
  ("data/tags", "start, open_type = 1, None"): _NO_MENTION,
  ("evaluation/metrics", "_BLOCK = 2** 21"): _BLOCKS,
  ("evaluation/metrics", "_BLOCK = 2** 23"): _BLOCKS,
  ("training/losses", "occurs = counts != 0"): _NOT_BELOW_0,
  (
    "training/losses",
    'if average == "expected" and loss != dice:',
  ): "functions are equal if they are the same one",
  (
    "training/optimizer",
    "if accumulate_steps <= 1:",
  ): "the settings refuse less than 1",
  (
    "training/step",
    "arrays = {name: value[ -1] for name, value in batch.arrays.items()}",
  ): "only the shapes of a device's part matter, which are alike",
}
"""Of modules and lines as changed, without the space around them."""


def reason(module: str, diff: str) -> str | None:
  """Why a mutant is equivalent, None if it is not known as one."""
  for line in diff.splitlines():
    why = _REASONS.get((module, line.removeprefix("+").strip()))
    if line.startswith("+") and why:
      return why
  return None
