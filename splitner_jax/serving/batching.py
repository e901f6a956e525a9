"""Requests of many callers, run together: a queue and one thread."""

import dataclasses
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

from splitner_jax.data.text import Word
from splitner_jax.inference.ner_model import Explained
from splitner_jax.inference.pipeline import Entity, SplitNER
from splitner_jax.runtime import sizes
from splitner_jax.tasks.systems import Steps

log = logging.getLogger(__name__)

# Words of one request before it is the next one's turn.
_TURN = 100
# Of the last batch's time that may be waited for more requests.
_PATIENCE = 8
# Batches that the pace is a mean of, about.
_PACES = 8
# Characters that a text counts as at least: its answer takes memory too.
_LEAST_SIZE = 64


class FullError(Exception):
  """The queue takes no more for now."""


class ClosedError(Exception):
  """The queue takes nothing: not yet, or not any more."""


class InternalError(Exception):
  """Something that is nobody's input; the log has a line with its id."""


def logged(error: BaseException) -> InternalError:
  """Writes one line about an error, and gives what a caller may know."""
  number = secrets.token_hex(4)
  said = sizes.out_of_memory(error)
  if said:
    said += "; lower --batch_size, or --max_bytes for shorter texts"
  else:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
  log.error("internal error %s: %s", number, said)
  return InternalError(f"internal error {number}")


@dataclasses.dataclass(frozen=True)
class Limits:
  """How requests are put together.

  Attributes:
    batch_words: words that the model is given at a time, about: a sentence is
      never cut.
    window: seconds without a new request after which a batch begins. While
      new ones keep coming it waits for them, an eighth of the time that the
      last batch took at most.
    requests: that may wait.
    characters: that may wait, each text counting as 64 at least; a single
      request may have more.
  """

  batch_words: int = 2000
  window: float = 0.003
  requests: int = 256
  characters: int = 4_000_000


@dataclasses.dataclass(frozen=True)
class Batch:
  """What the model was given at a time."""

  requests: int
  texts: int
  words: int


_Piece = tuple[int, list[Word]]


@dataclasses.dataclass(frozen=True)
class Found:
  """What was found in a text.

  Attributes:
    entities: all of them, whatever their scores and types.
    steps: of each, where the system has two.
    sentences: the words of each, as the model read them.
  """

  entities: list[Entity] = dataclasses.field(default_factory=list)
  steps: list[Steps | None] = dataclasses.field(default_factory=list)
  sentences: list[list[Word]] = dataclasses.field(default_factory=list)


class Job:
  """The texts of a request on their way.

  Attributes:
    answer: what was found in each text.
    characters: of all texts.
    has_more: whether there is something left to take.
  """

  def __init__(self, texts: Sequence[str], ner: SplitNER):
    self.answer: Future[list[Found]] = Future()
    self.characters = sum(map(len, texts))
    self.texts = texts
    self._found: dict[int, Found] = {}
    self._pieces = self._split(ner)
    self._next: _Piece | None = None
    self.has_more = True

  @property
  def size(self) -> int:
    """Characters that it counts as in the queue."""
    return max(self.characters, _LEAST_SIZE * len(self.texts))

  def _split(self, ner: SplitNER) -> Iterator[_Piece]:
    """The sentences of each text, and nothing at its end."""
    for i, text in enumerate(self.texts):
      for words in ner.sentences(text):
        yield i, words
      yield i, []

  def take(self) -> tuple[list[_Piece], int, int]:
    """The next sentences, about as many words as a turn has.

    Returns:
      Sentences, words, texts that end with them.
    """
    taken: list[_Piece] = []
    words = texts = 0
    # The end of a text counts as a word: texts without any are work too.
    piece = self._next or next(self._pieces, None)
    while piece and words + texts < _TURN:
      if piece[1]:
        taken.append(piece)
        words += len(piece[1])
      else:
        texts += 1
      piece = next(self._pieces, None)
    # Known now, or the answer would wait for one batch more.
    self._next, self.has_more = piece, piece is not None
    return taken, words, texts

  def add(self, piece: _Piece, mentions: Iterable[Explained]) -> None:
    """Takes what was found in a sentence."""
    i, words = piece
    text, found = self.texts[i], self._found.setdefault(i, Found())
    found.sentences.append(words)
    for (first, end, label, score), steps in mentions:
      a, b = words[first].start, words[end - 1].end
      found.entities.append(Entity(text[a:b], label, a, b, score))
      found.steps.append(steps)

  def finish(self) -> None:
    """Answers, if anyone still waits."""
    if self.answer.set_running_or_notify_cancel():
      indices = range(len(self.texts))
      self.answer.set_result([self._found.get(i, Found()) for i in indices])

  def fail(self, error: Exception) -> None:
    """Answers with an error, if anyone still waits."""
    if self.answer.set_running_or_notify_cancel():
      self.answer.set_exception(error)


class Batcher:
  """Runs the model for all requests that wait, in a thread of its own.

  Requests take turns within a batch and from one batch to the next, so that a
  short one does not wait for the end of a long one.
  """

  def __init__(
    self,
    ner: SplitNER,
    limits: Limits,
    on_ready: Callable[[Exception | None], None] = lambda _: None,
    on_batch: Callable[[Batch], None] = lambda _: None,
  ):
    """Starts nothing yet.

    Args:
      ner: the model.
      limits: of queue and batches.
      on_ready: is called in the thread once the model is warm, or with what
        went wrong.
      on_batch: is told of each batch, in the thread.
    """
    self._ner = ner
    self._limits = limits
    self._on_ready = on_ready
    self._on_batch = on_batch
    self._waiting: deque[Job] = deque()
    self._changed = threading.Condition()
    self._closed = False
    self._arrived = 0.0  # When the last request came.
    self._lasted = 0.0  # Seconds of the last batch.
    self._pace = 0.0  # Seconds a character.
    self._warm = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)

  def __len__(self) -> int:
    """Requests that wait."""
    return len(self._waiting)

  @property
  def is_ready(self) -> bool:
    """Whether it takes requests."""
    return self._warm.is_set() and not self._closed

  def seconds_to_go(self) -> float:
    """How long what waits now will take, at the pace of the last batches."""
    with self._changed:
      return self._pace * sum(job.characters for job in self._waiting)

  def start(self) -> None:
    """Warms the model up in the thread, then takes requests."""
    self._thread.start()

  def submit(self, texts: Sequence[str]) -> Job:
    """Puts the texts of a request into the queue.

    Raises:
      FullError: it is full.
      ClosedError: the model is not warm yet, or `close` was called.
    """
    job = Job(texts, self._ner)
    with self._changed:
      if not self.is_ready:
        raise ClosedError
      size = job.size + sum(other.size for other in self._waiting)
      too_many = len(self._waiting) >= self._limits.requests
      too_long = self._waiting and size > self._limits.characters
      if too_many or too_long:
        raise FullError
      self._waiting.append(job)
      self._arrived = time.monotonic()
      self._changed.notify_all()
    return job

  def drop(self, job: Job) -> None:
    """Takes out a request for which nobody waits any more."""
    job.answer.cancel()
    with self._changed:
      if job in self._waiting:
        self._waiting.remove(job)

  def close(self) -> None:
    """Takes no more; what waits is answered."""
    with self._changed:
      self._closed = True
      self._changed.notify_all()

  def join(self) -> None:
    """Waits for the end, after `close`."""
    self._thread.join()

  def _run(self) -> None:
    try:
      self._ner.warm_up()
    except Exception as e:
      self._on_ready(e)
      return
    self._warm.set()
    self._on_ready(None)
    while self._wait():
      jobs: dict[Job, None] = {}
      try:
        self._run_batch(jobs)
      except Exception as e:
        error = logged(e)
        for job in jobs:
          job.fail(error)

  def _wait(self) -> bool:
    """Waits for requests; False if there will be none."""
    with self._changed:
      while not self._waiting and not self._closed:
        self._changed.wait()
      # Those who were just answered are likely to ask again.
      window, start = self._limits.window, time.monotonic()
      end = start + max(window, self._lasted / _PATIENCE)
      while not self._closed:
        quiet = max(start, self._arrived) + window
        left = min(quiet, end) - time.monotonic()
        if left <= 0:
          break
        self._changed.wait(left)
      return bool(self._waiting) or not self._closed

  def _run_batch(self, jobs: dict[Job, None]) -> None:
    """Runs one batch; `jobs` gets those that are in it, also if it fails."""
    pieces: list[tuple[Job, _Piece]] = []
    words = texts = 0
    while words + texts < self._limits.batch_words:
      with self._changed:
        if not self._waiting:
          break
        job = self._waiting.popleft()
      if job.answer.done():  # Nobody waits, or a part of it has failed.
        continue
      jobs[job] = None
      taken, more_words, more_texts = job.take()
      pieces += [(job, piece) for piece in taken]
      words += more_words
      texts += more_texts
      if job.has_more:
        with self._changed:
          self._waiting.append(job)
    sentences = [words for _, (_, words) in pieces]
    # All that is found: each caller has a threshold and types of his own.
    start = time.monotonic()
    found = self._ner.mentions(sentences) if sentences else []
    self._lasted = seconds = time.monotonic() - start
    for (job, piece), spans in zip(pieces, found, strict=True):
      job.add(piece, spans)
    if sentences:
      read = sum(words[-1].end - words[0].start for words in sentences)
      self._pace += (seconds / read - self._pace) / _PACES
    if jobs:
      self._on_batch(Batch(len(jobs), texts, words))
    for job in jobs:
      if not job.has_more:
        job.finish()
