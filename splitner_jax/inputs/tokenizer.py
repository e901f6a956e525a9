"""Words to subwords."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from splitner_jax.inputs import tokenizer_files
from splitner_jax.inputs.ragged import flat_ranges, offsets
from splitner_jax.runtime.errors import UserError

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerFast

MAX_WORD_PIECES = 64
"""A word has at most this many subwords; the rest of it is not read."""

# How byte-level BPE and SentencePiece write a space.
_SPACES = (["Ġ"], ["▁"])

_USUAL = {
  "pad": ("[PAD]", "<pad>"),
  # T5 has no token to read a sequence by; the first of those that stand for
  # something is closest to one.
  "cls": ("[CLS]", "<s>", "<extra_id_0>"),
  "sep": ("[SEP]", "</s>"),
  "unk": ("[UNK]", "<unk>"),
}

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PairStyle:
  """How a backbone reads two sequences: `[CLS] a [SEP] b [SEP]`.

  Attributes:
    separators: how many [SEP] stand between them, one or two.
    second_type: the token type of the second sequence, 0 or 1.
    prefix_space: whether words are read with the space before them, which is
      part of their first subword.
  """

  separators: int = 1
  second_type: int = 1
  prefix_space: bool = False


@dataclasses.dataclass(frozen=True)
class TokenizedWords:
  """Word lists as subwords, all behind each other in flat arrays.

  The last two tokens belong to no list: the model's [CLS] and [SEP].

  Attributes:
    ids: int32[n + 2] vocabulary ids.
    texts: int32[n + 2] which of `distinct` a token is.
    distinct: the different token texts, as written in the words.
    words: int64[W + 1]; word w is tokens words[w] up to, not including,
      words[w + 1], at least one.
    lists: int64[L + 1]; list i is words lists[i] up to, not including,
      lists[i + 1].
  """

  ids: np.ndarray
  texts: np.ndarray
  distinct: list[str]
  words: np.ndarray
  lists: np.ndarray

  def __len__(self) -> int:
    return len(self.lists) - 1

  @property
  def cls(self) -> int:
    """The place of [CLS]."""
    return len(self.ids) - 2

  @property
  def sep(self) -> int:
    """The place of [SEP]."""
    return len(self.ids) - 1

  def starts(self, index: int) -> np.ndarray:
    """int64[words + 1]: where the words of a list start, and where it ends."""
    return self.words[self.lists[index] : self.lists[index + 1] + 1]

  def sizes(self) -> np.ndarray:
    """int64[L]: tokens of each list."""
    bounds = self.words[self.lists]
    return bounds[1:] - bounds[:-1]


class Tokenizer:
  """Word lists to subwords.

  Attributes:
    pairs: how two sequences are joined.
    reference: whether texts are read by the rules of the paper's code.
    max_length: the longest input, special tokens included.
    pad_id: vocabulary id of padding.
  """

  def __init__(
    self,
    folder: str,
    pairs: PairStyle,
    max_length: int,
    reference: bool = False,
    saved: bool = False,
  ):
    """Loads the tokenizer of a backbone or a model, without any network.

    Args:
      folder: a Hugging Face model folder, or that of a model of ours.
      pairs: how the model reads two sequences.
      max_length: the longest input, special tokens included.
      reference: whether to tokenise as the paper's authors did, for their
        checkpoints.
      saved: whether it is that of a model of ours, which is read as it is.

    Raises:
      UserError: if the folder holds no fast tokenizer, or it lacks a special
        token.
    """
    self._folder = folder
    self.pairs = pairs
    self.reference = reference
    self.max_length = max_length
    # Words need their space, as in pretraining; the reference leaves it out.
    space = pairs.prefix_space and not reference
    found = tokenizer_files.load_saved(folder) if saved else None
    self._backend, self._named = found or self._load_by_class(space)
    # A tokenizer.json may carry a truncation of its own; here sentences are
    # cut at words.
    self._backend.no_truncation()
    self._backend.no_padding()
    if pairs.prefix_space:
      _set_prefix_space(self._backend.pre_tokenizer, space)
    self.pad_id, cls, sep, self._unknown_id = (
      self._special_id(name) for name in ("pad", "cls", "sep", "unk")
    )
    self._specials = [(cls, self._named["cls"]), (sep, self._named["sep"])]
    if not found:
      # So that its files name them once it is saved.
      self.fast.add_special_tokens(
        {
          f"{name}_token": token
          for name, token in self._named.items()
          if getattr(self.fast, f"{name}_token") is None
        }
      )
    if space and not self._reads_spaces():
      log.warning(
        "%s: its tokenizer does not read a single word as it reads it in a "
        "text, which costs accuracy",
        folder,
      )

  def _load_by_class(
    self, space: bool
  ) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """As `load_saved`, of any folder; sets `fast`."""
    options = {"add_prefix_space": space} if self.pairs.prefix_space else {}
    self.fast = tokenizer_files.load(self._folder, **options)
    backend = self.fast.backend_tokenizer
    if backend.get_vocab_size() <= len(set(self.fast.all_special_tokens)):
      # What a class of tokenizer makes of a folder without a vocabulary.
      raise UserError(
        f"{self._folder}: its tokenizer has no vocabulary; the folder needs "
        f"{tokenizer_files.NEEDED}"
      )
    tokens = {name: getattr(self.fast, f"{name}_token") for name in _USUAL}
    return backend, {k: t for k, t in tokens.items() if t is not None}

  @functools.cached_property
  def fast(self) -> "PreTrainedTokenizerFast":
    """The tokenizer of `transformers`, for saving it."""
    # Not before it is asked for: see `load_saved`.
    return Tokenizer(
      self._folder, self.pairs, self.max_length, self.reference
    ).fast

  def is_like(self, other: "Tokenizer") -> bool:
    """Whether it makes the same of words and pairs."""
    return self is other or (
      self.pairs == other.pairs
      and self.pad_id == other.pad_id
      and self._unknown_id == other._unknown_id
      and self._specials == other._specials
      and self._backend.to_str() == other._backend.to_str()
    )

  def _special_id(self, name: str) -> int:
    token = self._named.get(name)
    if token is None:
      # Files of a general class of tokenizer need not name them.
      known = self._backend.token_to_id
      usual = [x for x in _USUAL[name] if known(x) is not None]
      if len(usual) == 1:  # Of two, who would know.
        token = self._named[name] = usual[0]
    number = None if token is None else self._backend.token_to_id(token)
    if number is None and name == "pad":
      return 0  # Nothing sees it.
    if number is None:
      raise UserError(
        f"{self._folder}: its tokenizer has no {name}_token, which the model's "
        "inputs need; use another backbone"
      )
    return number

  def check_vocabulary(self, rows: int) -> None:
    """Raises UserError if it is not of a model with so many embeddings.

    Warns where it only seems so: some published models have rows to spare.
    """
    folder = self._folder
    vocabulary = self._backend.get_vocab()
    tokens = {number: token for token, number in vocabulary.items()}
    if len(tokens) < len(vocabulary):
      twice = min(n for token, n in vocabulary.items() if tokens[n] != token)
      one, other, *_ = sorted(t for t, n in vocabulary.items() if n == twice)
      raise UserError(
        f"{folder}: its tokens {one!r} and {other!r} have the same id {twice}; "
        "get the folder again"
      )
    most = max(tokens)
    if most >= rows:
      # A gather beyond the rows would raise nothing.
      raise UserError(
        f"{folder}: its token {tokens[most]!r} has the id {most}, but the "
        f"model knows {rows} tokens; get tokenizer and weights from the same "
        "model"
      )
    if len(tokens) < rows / 2:
      raise UserError(
        f"{folder}: its tokenizer has {len(tokens)} of the {rows} tokens that "
        "the model knows; get the folder again"
      )
    if len(tokens) < 0.9 * rows:
      log.warning(
        "%s: its tokenizer has %d of the %d tokens that the model knows; if "
        "that is not so where it was published, get the folder again",
        folder,
        len(tokens),
        rows,
      )

  def _reads_spaces(self) -> bool:
    """Whether words are read alone as they are read behind each other."""
    encode = self._backend.encode
    alone = encode(["a"], is_pretokenized=True, add_special_tokens=False)
    return encode("a a", add_special_tokens=False).ids == 2 * alone.ids

  def __call__(self, word_lists: Sequence[Sequence[str]]) -> TokenizedWords:
    """Tokenises lists of words.

    What a word becomes does not depend on its neighbours, so each distinct
    word is tokenised once.
    """
    numbers: dict[str, int] = {}
    flat = np.array(
      [
        numbers.setdefault(word, len(numbers))
        for words in word_lists
        for word in words
      ],
      np.int64,
    )
    known: dict[str, int] = {}
    tokens = [self._tokens(word, e) for word, e in self._encodings(numbers)]
    ids, texts = (
      np.array(column, np.int32)
      for column in (
        [i for word in tokens for i, _ in word],
        [known.setdefault(t, len(known)) for word in tokens for _, t in word],
      )
    )
    sizes = np.array([len(word) for word in tokens], np.int64)
    first = np.cumsum(sizes) - sizes
    where = flat_ranges(first[flat], sizes[flat])
    special_ids = [i for i, _ in self._specials]
    special_texts = [known.setdefault(t, len(known)) for _, t in self._specials]
    return TokenizedWords(
      np.concatenate([ids[where], np.array(special_ids, np.int32)]),
      np.concatenate([texts[where], np.array(special_texts, np.int32)]),
      list(known),
      offsets(sizes[flat]),
      offsets(np.array([len(words) for words in word_lists], np.int64)),
    )

  def _encodings(self, words: Iterable[str]):
    """Each word and its encoding."""
    words = list(words)
    encodings = self._backend.encode_batch(
      [[word] for word in words],
      is_pretokenized=True,
      add_special_tokens=False,
    )
    return zip(words, encodings, strict=True)

  def _tokens(self, word: str, encoding) -> list[tuple[int, str]]:
    """The id and the text of each subword of a word."""
    tokens = [
      (i, word[start:end].strip())
      for i, (start, end) in itertools.islice(
        zip(encoding.ids, encoding.offsets, strict=True), MAX_WORD_PIECES
      )
    ]
    # Not all tokenizers know that the space alone is nothing of the word.
    if self.pairs.prefix_space and encoding.tokens[:1] in _SPACES:
      tokens[0] = tokens[0][0], ""
    # Characters that the tokenizer drops.
    return tokens or [(self._unknown_id, word)]


def _set_prefix_space(
  pre_tokenizer: pre_tokenizers.PreTokenizer, value: bool
) -> None:
  """Says whether byte-level BPE puts a space before each word."""
  # The option of `from_pretrained` does it for some classes only, and for the
  # others says nothing.
  if isinstance(pre_tokenizer, pre_tokenizers.Sequence):
    # It can be iterated over, which its type does not say.
    for each in cast("Iterable[pre_tokenizers.PreTokenizer]", pre_tokenizer):
      _set_prefix_space(each, value)
  elif isinstance(pre_tokenizer, pre_tokenizers.ByteLevel):
    pre_tokenizer.add_prefix_space = value
