"""What GET /metrics tells, for Prometheus."""

from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from splitner_jax.serving.batching import Batch

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_WORDS = (10, 30, 100, 300, 1000, 3000, 10_000)
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
  """Counters of one server."""

  def __init__(self, queue_length: Callable[[], int]):
    """All are 0.

    Args:
      queue_length: says how many requests wait.
    """
    self._registry = CollectorRegistry()
    self._requests = Counter(
      "splitner_requests",
      "Requests by route and status; 499: the client left.",
      ("route", "status"),
      registry=self._registry,
    )
    self._seconds = Histogram(
      "splitner_request_seconds",
      "Seconds from a request's headers to the end of its answer.",
      ("route",),
      buckets=_SECONDS,
      registry=self._registry,
    )
    self._texts = Counter(
      "splitner_texts", "Texts that were read.", registry=self._registry
    )
    self._words = Histogram(
      "splitner_batch_words",
      "Words that the model was given at a time.",
      buckets=_WORDS,
      registry=self._registry,
    )
    self._joined = Histogram(
      "splitner_batch_requests",
      "Requests whose texts the model was given at a time.",
      buckets=_REQUESTS,
      registry=self._registry,
    )
    Gauge(
      "splitner_queue_length",
      "Requests that wait for the model.",
      registry=self._registry,
    ).set_function(queue_length)

  def count(self, route: str, status: int, seconds: float) -> None:
    """Counts a request that was answered, or left by its client."""
    self._requests.labels(route, str(status)).inc()
    self._seconds.labels(route).observe(seconds)

  def count_batch(self, batch: Batch) -> None:
    """Counts what the model was given at a time."""
    self._texts.inc(batch.texts)
    self._words.observe(batch.words)
    self._joined.observe(batch.requests)

  def page(self) -> bytes:
    """The page of all counters."""
    return prometheus_client.generate_latest(self._registry)
