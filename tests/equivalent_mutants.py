"""Mutants that no test can kill: what they change makes no difference."""

_REASONS = {
  (
    "inputs/packing",
    "if targets > self.shape.targets or len(self) >= packer.most:",
  ): "examples come one by one",
  (
    "data/tags",
    "rows: list[tuple[str | None, bool, bool]] = [(None, True, False)]",
  ): "the type of O is None, and so is what it opens",
  (
    "training/losses",
    'if average == "expected" and loss != dice:',
  ): "functions are equal if they are the same one",
  (
    "training/optimizer",
    "if accumulate_steps <= 1:",
  ): "the settings refuse less than 1",
}
"""Of modules and lines as changed, without the space around them."""


def reason(module: str, diff: str) -> str | None:
  """Why a mutant is equivalent, None if it is not known as one."""
  for line in diff.splitlines():
    why = _REASONS.get((module, line.removeprefix("+").strip()))
    if line.startswith("+") and why:
      return why
  return None
