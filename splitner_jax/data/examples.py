"""Sentences to ragged model inputs: tokenise, align, cut into windows."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import transformers

from splitner_jax.errors import UserError

MAX_WORD_PIECES = 64
"""A word has at most this many sub-tokens; the rest of it is not read."""


@dataclasses.dataclass(frozen=True)
class Pieces:
  """A tokenised word list.

  Attributes:
    ids: int32[n] vocabulary ids of the sub-tokens.
    texts: the sub-tokens as written in the words, n strings.
    starts: int32[words + 1]; word w is the sub-tokens
      starts[w] up to, not including, starts[w + 1], at least one.
  """

  ids: np.ndarray
  texts: list[str]
  starts: np.ndarray

  def words(self, first: int, end: int) -> "Pieces":
    """The sub-tokens of words first up to, not including, end."""
    a, b = self.starts[first], self.starts[end]
    return Pieces(
      self.ids[a:b], self.texts[a:b], self.starts[first : end + 1] - a
    )


@dataclasses.dataclass(frozen=True)
class Example:
  """One model input of its real length.

  Attributes:
    ids, types: int32[n] vocabulary ids and token types (0 or 1).
    texts: n token texts, for the character and pattern features.
    sentence: index of the sentence it was made from.
    first_word: index of the first word that has a position here.
    positions: int32[m] where words first_word, first_word + 1, ... start; of
      sequence tasks, where the mention is in the question.
    labels: int32[n] for token tasks, int32[] for sequence tasks; zeros where
      there is no gold.
    weights: float32, shape of labels: which labels count in the loss.
    pos: int32[n] part of speech of each token, 0 for none; None if the task
      does not read it.
  """

  ids: np.ndarray
  types: np.ndarray
  texts: list[str]
  sentence: int
  first_word: int
  positions: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  pos: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.ids)


_KEPT_EXAMPLES = 512


class LazyExamples(Sequence[Example]):
  """Examples that are made when they are asked for; only the last are kept.

  Attributes:
    lengths: int[N] length of each.
  """

  def __init__(self, lengths: np.ndarray, make: Callable[[int], Example]):
    self.lengths = lengths
    # A batch looks at each of its examples several times.
    self._make = functools.lru_cache(_KEPT_EXAMPLES)(make)

  def __len__(self) -> int:
    return len(self.lengths)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self._make(i) for i in range(len(self))[index]]
    return self._make(range(len(self))[index])


def example_lengths(examples: Sequence[Example]) -> np.ndarray:
  """int[N] lengths of the examples; none is made for it."""
  if isinstance(examples, LazyExamples):
    return examples.lengths
  return np.array([len(example) for example in examples])


class Tokenizer:
  """Word lists to sub-tokens, and the special tokens around them.

  Attributes:
    fast: the underlying `transformers` tokenizer, for saving it.
    is_roberta: whether pairs are joined as `<s> a </s></s> b </s>`, all of
      token type 0.
    reference: whether texts are read by the rules of the paper's code.
    pad_id: vocabulary id of padding.
  """

  def __init__(
    self,
    folder: str,
    is_roberta: bool,
    max_length: int,
    reference: bool = False,
  ):
    """Loads the tokenizer of a backbone folder, without any network.

    Args:
      folder: a Hugging Face model folder.
      is_roberta: the family of the model.
      max_length: the longest input, special tokens included.
      reference: whether to tokenise as the paper's authors did, for their
        checkpoints.

    Raises:
      UserError: if the folder holds no fast tokenizer.
    """
    # RoBERTa's words need their space, as in its pretraining; the reference
    # leaves it out.
    options = {"add_prefix_space": not reference} if is_roberta else {}
    try:
      self.fast = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, **options
      )
      self._backend = self.fast.backend_tokenizer
    except (OSError, ValueError, AttributeError, KeyError) as e:
      reason = str(e).strip().split("\n")[0]
      raise UserError(
        f"{folder}: no tokenizer could be read ({reason}); the folder needs "
        "tokenizer.json, or vocab.txt and tokenizer_config.json"
      ) from e
    # A tokenizer.json may carry a truncation of its own; here sentences are
    # cut at words.
    self._backend.no_truncation()
    self._backend.no_padding()
    self.is_roberta = is_roberta
    self.reference = reference
    self.max_length = max_length
    self.pad_id = int(self.fast.pad_token_id)
    self._cls, self._sep = self.fast.cls_token, self.fast.sep_token
    self._unknown_id = int(self.fast.unk_token_id)

  def __call__(self, word_lists: Sequence[Sequence[str]]) -> list[Pieces]:
    """Tokenises each list of words."""
    encodings = self._backend.encode_batch(
      [list(words) for words in word_lists],
      is_pretokenized=True,
      add_special_tokens=False,
    )
    return [
      self._pieces(words, encoding)
      for words, encoding in zip(word_lists, encodings, strict=True)
    ]

  def _pieces(self, words: Sequence[str], encoding) -> Pieces:
    ids: list[list[int]] = [[] for _ in words]
    texts: list[list[str]] = [[] for _ in words]
    for token_id, word, (start, end) in zip(
      encoding.ids, encoding.word_ids, encoding.offsets, strict=True
    ):
      if len(ids[word]) < MAX_WORD_PIECES:
        ids[word].append(token_id)
        texts[word].append(words[word][start:end].strip())
    for w, word in enumerate(words):
      if not ids[w]:  # Characters that the tokenizer drops.
        ids[w], texts[w] = [self._unknown_id], [word]
    starts = np.cumsum([0] + [len(i) for i in ids], dtype=np.int32)
    return Pieces(
      np.array([i for word in ids for i in word], np.int32),
      [t for word in texts for t in word],
      starts,
    )

  def join(
    self, first: Pieces | None, second: Pieces, *, double_sep: bool = False
  ) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """Puts special tokens around one or two pieces of text.

    Args:
      first: the first part, or None for `[CLS] second [SEP]`.
      second: the second part.
      double_sep: whether RoBERTa has two separators between the parts.

    Returns:
      ids int32[n], token types int32[n], n token texts, and the position at
      which `second` starts.
    """
    cls_id = [self.fast.cls_token_id]
    sep_id = [self.fast.sep_token_id]
    ids: list[Sequence[int] | np.ndarray] = [cls_id]
    texts = [self._cls]
    if first is not None:
      seps = 2 if self.is_roberta and double_sep else 1
      ids += [first.ids, sep_id * seps]
      texts += [*first.texts, *[self._sep] * seps]
    offset = len(texts)
    ids += [second.ids, sep_id]
    texts += [*second.texts, self._sep]
    types = np.zeros(len(texts), np.int32)
    if first is not None and not self.is_roberta:
      types[offset:] = 1
    return np.concatenate(ids).astype(np.int32), types, texts, offset


def windows(
  starts: np.ndarray, capacity: int, overlap: int
) -> list[tuple[int, int]]:
  """Cuts a sentence into windows of whole words.

  Args:
    starts: int32[words + 1] as in `Pieces`.
    capacity: the most sub-tokens of a window; at least MAX_WORD_PIECES.
    overlap: about how many sub-tokens neighbouring windows share.

  Returns:
    (first word, end word) of each window: one for a sentence that fits, else
    as many as needed, each as full as possible, together all words.

  >>> windows(np.arange(11), 10, 4)
  [(0, 10)]
  >>> windows(np.arange(21), 10, 4)
  [(0, 10), (6, 16), (12, 20)]
  """
  words, result, first = len(starts) - 1, [], 0
  while True:
    end = int(np.searchsorted(starts, starts[first] + capacity, "right")) - 1
    end = min(max(end, first + 1), words)
    result.append((first, end))
    if end == words:
      return result
    back = int(np.searchsorted(starts, starts[end] - overlap, "left"))
    first = max(first + 1, min(back, end))


def stitch(parts: Iterable[tuple[int, np.ndarray]], words: int) -> np.ndarray:
  """Joins the word rows of overlapping windows.

  Each word is taken from the window in which it is most central, so that a
  mention across the edge of one window is read from the other.

  Args:
    parts: (first word, float[m, C]) of each window, in order.
    words: how many words the sentence has.

  Returns:
    float[words, C].
  """
  parts = list(parts)
  rows = np.zeros((words, parts[0][1].shape[1]), parts[0][1].dtype)
  best = np.full(words, -1)
  for first, values in parts:
    m = len(values)
    central = np.minimum(np.arange(m), np.arange(m)[::-1])
    here = slice(first, first + m)
    better = central > best[here]
    rows[here][better] = values[better]
    best[here][better] = central[better]
  return rows


def context_window(
  starts: np.ndarray, first: int, end: int, capacity: int
) -> tuple[int, int]:
  """Words around a mention, of at most `capacity` sub-tokens, it in the middle.

  Args:
    starts: int32[words + 1] as in `Pieces`.
    first, end: the mention's words.
    capacity: the most sub-tokens.

  Returns:
    (first word, end word); near an end of the sentence the other side gets
    what is left. Of a mention longer than the capacity the middle, at least
    one word.
  """
  total = int(starts[-1])
  middle = (int(starts[first]) + int(starts[end])) // 2
  left = min(max(0, middle - capacity // 2), total - capacity)
  a = int(np.searchsorted(starts, left, "left"))
  b = int(np.searchsorted(starts, left + capacity, "right")) - 1
  if a >= b:  # No whole word fits.
    a = int(np.searchsorted(starts, middle, "right")) - 1
    b = a + 1
  return a, b
