"""Text in, entities out: `SplitNER`, a trained model for tagging."""

import collections
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any, NamedTuple

from splitner_jax.data import text as text_lib
from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.data.text import Word
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inference import checks
from splitner_jax.runtime.errors import UserError

# JAX is imported with the first model: whoever imports this module, or asks
# the command line for help, need not wait for it.
if TYPE_CHECKING:
  from splitner_jax.inference.ner_model import Explained, NerModel, Predictor

_SURROGATE = re.compile("[\ud800-\udfff]")

# Words that are tagged at a time: few at first, so that a short text and the
# start of a stream need not wait, then as many as fill the batches well.
_FIRST_CHUNK, _LARGEST_CHUNK = 1_000, 10_000
# How many of these chunks may be under way while the next is read: one is on
# the device, and the next is tokenised before that is waited for.
_AHEAD = 1


class Entity(NamedTuple):
  """A mention that was found.

  Attributes:
    text: as written: `source[start:end]`.
    label: the entity type.
    start, end: characters of the source; `end` is exclusive. The source of a
      list of words is `" ".join(words)`.
    score: probability of the span times that of the type.
    first_word, end_word: the same in words, for a list of words.
  """

  text: str
  label: str
  start: int
  end: int
  score: float
  first_word: int | None = None
  end_word: int | None = None


class _Tagged:
  """A text on its way: its sentences, and what was found in them so far."""

  def __init__(self, source: str, sentences: Iterable[list[Word]], words: bool):
    self.source = source
    self.sentences = sentences
    self.of_words = words
    self.to_come = 0
    self.entities: list[Entity] = []

  def add(
    self,
    words: Sequence[Word],
    found: Iterable[ScoredSpan],
    labels: Collection[str] | None,
  ) -> None:
    """Takes what was found in one sentence, of some types or of all."""
    for first, end, label, score in found:
      if labels is None or label in labels:
        a, b = words[first].start, words[end - 1].end
        place = (first, end) if self.of_words else ()
        self.entities.append(
          Entity(self.source[a:b], label, a, b, score, *place)
        )


_Chunk = list[tuple[_Tagged, list[Word]]]


class _Pipeline:
  """Tags chunks in threads: one is tokenised while another is on the device."""

  def __init__(self, predictor: "Predictor", **options: Any):
    """With the options of `Predictor.predict`."""
    self._predictor = predictor
    self._options = options
    self._tokenising = futures.ThreadPoolExecutor(1)
    self._on_device = futures.ThreadPoolExecutor(1)
    self._under_way: collections.deque[tuple[_Chunk, futures.Future]] = (
      collections.deque()
    )

  def __len__(self) -> int:
    return len(self._under_way)

  def add(self, chunk: _Chunk) -> None:
    """Starts a chunk."""
    sentences = [Sentence(tuple(w.text for w in words)) for _, words in chunk]
    examples = self._tokenising.submit(self._predictor.encode, sentences)
    found = self._on_device.submit(
      lambda: self._predictor.predict(
        sentences, examples.result(), **self._options
      )
    )
    self._under_way.append((chunk, found))

  def take(self, *, wait: bool) -> Iterator[tuple[_Tagged, list[Word], list]]:
    """What was found in each sentence of the oldest chunk.

    Nothing if it is not done yet; but with `wait` that is waited for.
    """
    if self._under_way and (wait or self._under_way[0][1].done()):
      chunk, found = self._under_way.popleft()
      for (tagged, words), spans in zip(chunk, found.result(), strict=True):
        yield tagged, words, spans

  def stop(self) -> None:
    """Leaves what is not begun."""
    for threads in (self._tokenising, self._on_device):
      threads.shutdown(wait=False, cancel_futures=True)


class SplitNER:
  """A trained system, for tagging text.

  >>> ner = SplitNER.from_pretrained("runs/demo/model")
  >>> ner.predict("Ana moved to Rome.")
  [[Entity(text='Ana', label='person', start=0, end=3, ...), ...]]
  """

  def __init__(
    self,
    model: "NerModel",
    *,
    batch_size: int = 32,
    predictor: "Predictor | None" = None,
  ):
    """See `from_pretrained`.

    Args:
      model: the model.
      batch_size: as there.
      predictor: of the model, if there is one already.

    Raises:
      UserError: it reads parts of speech; or `batch_size` is below 1.
    """
    checks.check_batch_size(batch_size)
    checks.check_reads_text(model)
    self._model = model
    self._predictor = predictor or model.predictor(batch_size)

  @classmethod
  def from_pretrained(
    cls, name: str, *, compute_dtype: str = "auto", batch_size: int = 32
  ) -> "SplitNER":
    """Loads a model; nothing is compiled before it is needed.

    Args:
      name: a folder that training or `save_pretrained` made, or the id of such
        a model on the Hugging Face hub.
      compute_dtype: float32, bfloat16, or auto: bfloat16 on TPU and GPU.
      batch_size: sentences of usual length that are computed at a time. More
        are faster where there are many, and take more memory.

    Raises:
      UserError: see `model_folder.load`; or `batch_size` is below 1.
    """
    import jax

    from splitner_jax.inference import model_folder
    from splitner_jax.runtime import compilation

    if not jax.config.values["jax_compilation_cache_dir"]:
      compilation.use_compilation_cache()
    model = model_folder.load(name, compute_dtype=compute_dtype)
    return cls(model, batch_size=batch_size)

  def warm_up(self) -> None:
    """Compiles all programs now, so that no later call waits for that.

    They are three for each task at most, and one for each of its features,
    whatever texts come; kept in the cache folder for the next process.
    """
    self._predictor.warm_up()

  def save_pretrained(self, folder: str) -> None:
    """Writes the model's folder; see `model_folder.save`."""
    from splitner_jax.inference import model_folder

    model_folder.save(folder, self._model)

  def push_to_hub(self, repo_id: str, *, private: bool | None = None) -> None:
    """Puts the model on the Hugging Face hub.

    Args:
      repo_id: owner/name; made if it is not there. A model that is there is
        replaced, other files stay.
      private: whether a new repository is private; None: as the owner's
        settings say.

    Raises:
      UserError: the hub refuses, or cannot be reached.
    """
    from splitner_jax.inference import hub

    hub.push(repo_id, self._model, private=private)

  @property
  def model(self) -> "NerModel":
    """What tags."""
    return self._model

  @property
  def predictor(self) -> "Predictor":
    """What runs it."""
    return self._predictor

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types."""
    return self._model.labels

  def predict(
    self,
    texts: str | Iterable[str | Sequence[str]],
    *,
    batch_size: int | None = None,
    threshold: float | None = None,
    labels: Collection[str] | None = None,
  ) -> list[list[Entity]]:
    """The entities of each text, in order.

    Args:
      texts: texts of any length, or lists of words, each one sentence. A
        single string is one text.
      batch_size: at most so many sentences are computed at a time; None: as
        many as the model was loaded for.
      threshold: the least score of an entity, from 0 to 1, instead of the
        model's thresholds: 0 gives all that were found. None: the model's.
      labels: only entities of these types, at least one; None: of all.

    Raises:
      UserError: a text is no string and no list of words, or what
        `checks` and the model's types say of the choice.
    """
    return list(
      self.stream(
        texts, batch_size=batch_size, threshold=threshold, labels=labels
      )
    )

  def stream(
    self,
    texts: Iterable[str | Sequence[str]],
    *,
    batch_size: int | None = None,
    threshold: float | None = None,
    labels: Collection[str] | None = None,
  ) -> Iterator[list[Entity]]:
    """Like `predict`, for any number of texts in constant memory.

    Texts are asked for in the caller's thread, some thousand words ahead.
    """
    if isinstance(texts, str):
      texts = [texts]
    checks.check_batch_size(batch_size)
    checks.check_choice(threshold, labels)
    if labels is not None:
      labels = checks.known_labels(labels, self._model)
    decoding = self._model.decoding
    if threshold is not None:
      decoding = dataclasses.replace(decoding, thresholds=Thresholds(threshold))
    waiting: collections.deque[_Tagged] = collections.deque()
    chunk: _Chunk = []
    size, limit = 0, _FIRST_CHUNK
    pipeline = _Pipeline(
      self._predictor, decoding=decoding, batch_size=batch_size
    )

    def take(*, wait: bool) -> None:
      for tagged, words, spans in pipeline.take(wait=wait):
        tagged.to_come -= 1
        tagged.add(words, spans, labels)

    def start() -> None:
      nonlocal chunk, size, limit
      # The first comes as soon as it can, and nothing is read meanwhile.
      most = 0 if limit == _FIRST_CHUNK else _AHEAD
      pipeline.add(chunk)
      chunk, size, limit = [], 0, min(2 * limit, _LARGEST_CHUNK)
      while len(pipeline) > most:
        take(wait=True)

    try:
      for index, given in enumerate(texts):
        tagged = self._start(given, index)
        for words in tagged.sentences:
          tagged.to_come += 1
          chunk.append((tagged, words))
          size += len(words)
          if size >= limit:
            start()
        waiting.append(tagged)
        size += 1
        if size >= limit:  # Texts without words must not pile up either.
          start()
        take(wait=False)
        while waiting and not waiting[0].to_come:
          yield waiting.popleft().entities
      pipeline.add(chunk)
      while len(pipeline):
        take(wait=True)
        while waiting and not waiting[0].to_come:
          yield waiting.popleft().entities
    finally:
      pipeline.stop()

  def sentences(self, text: str) -> Iterator[list[Word]]:
    """The words of each sentence of a text, as the model reads them."""
    # Half a character is nothing that a tokenizer takes.
    text = _SURROGATE.sub("\ufffd", text)
    return text_lib.sentences(text, self._model.text_style)

  def mentions(
    self, sentences: Sequence[Sequence[Word]]
  ) -> list[list["Explained"]]:
    """All that is found in sentences, whatever its score; in words.

    For who puts sentences of several texts together: they are run at once.

    Args:
      sentences: of texts, as the method of this name gives them.
    """
    read = [Sentence(tuple(w.text for w in words)) for words in sentences]
    everything = dataclasses.replace(
      self._model.decoding, thresholds=Thresholds()
    )
    return self._predictor.explain(read, everything)

  def _start(self, given: str | Sequence[str], index: int) -> _Tagged:
    if isinstance(given, str):
      return _Tagged(given, self.sentences(given), words=False)
    if not isinstance(given, Iterable):
      raise UserError(
        f"text {index}: is {given!r}, neither a string nor a list of words; "
        "give one of the two"
      )
    given = list(given)
    for i, word in enumerate(given):
      if not isinstance(word, str) or not word:
        raise UserError(
          f"text {index}: word {i} is {word!r}; give strings, none empty"
        )
    words = text_lib.words_in_line(_SURROGATE.sub("\ufffd", w) for w in given)
    return _Tagged(" ".join(given), [words] if words else [], words=True)
