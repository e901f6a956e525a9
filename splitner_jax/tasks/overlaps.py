"""Which of spans that overlap are kept."""

from collections.abc import Sequence

from splitner_jax.data.sentences import ScoredSpan


def resolve_overlaps_by_score(
  candidates: Sequence[ScoredSpan],
) -> list[ScoredSpan]:
  """Of candidates that overlap, those with the higher probability."""
  return _without_overlaps(sorted(candidates, key=lambda s: -s.score))


def resolve_overlaps_by_order(
  candidates: Sequence[ScoredSpan],
) -> list[ScoredSpan]:
  """Of candidates that overlap, those listed first: the reference's rule."""
  return _without_overlaps(candidates)


def _without_overlaps(ranked: Sequence[ScoredSpan]) -> list[ScoredSpan]:
  kept: list[ScoredSpan] = []
  for span in ranked:
    if all(span.end <= k.start or k.end <= span.start for k in kept):
      kept.append(span)
  return sorted(kept)
