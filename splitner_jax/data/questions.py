"""The questions that turn each task into question answering.

A question is a list of words, so that it is tokenised like the sentence.
"""

from collections.abc import Sequence


def span_classification(mention: Sequence[str]) -> list[str]:
  """The span classifier's question about one mention (paper, section 2.2).

  >>> span_classification(["New", "York"])
  ['What', 'is', 'New', 'York', '?']
  """
  return ["What", "is", *mention, "?"]
