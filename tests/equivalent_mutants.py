"""Mutants that no test can kill: what they change makes no difference."""

_REASONS: dict[tuple[str, str], str] = {}
"""Of modules and lines as changed, without the space around them."""


def reason(module: str, diff: str) -> str | None:
  """Why a mutant is equivalent, None if it is not known as one."""
  for line in diff.splitlines():
    why = _REASONS.get((module, line.removeprefix("+").strip()))
    if line.startswith("+") and why:
      return why
  return None
