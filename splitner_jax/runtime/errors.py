"""The one error class for everything a user can mend."""


class UserError(ValueError):
  """Bad input: the message is one line that says what, where, what to do.

  Entry points print it after `error:` and exit with status 1; a programming
  error keeps its traceback.
  """

  def __init__(self, message: str):
    """Of a message; the ends of lines in what it quotes become blanks."""
    super().__init__(" ".join(message.splitlines()))
