"""Tags text over HTTP:

splitner serve --model=FOLDER

answers POST /predict with {"text": "..."} or {"texts": [...]}, and, if given,
"threshold" and "labels"; GET /model, /health, /ready, /metrics, /openapi.json.
Texts of many callers are run together. SIGTERM ends the process after the
answers to what is queued, with status 0. With a token, of --token_file or of
the environment's SPLITNER_TOKEN, callers send "Authorization: Bearer TOKEN".

Needs pip install "splitner_jax[serve]".
"""

import importlib.util
import os
import signal
import sys

from absl import flags

from splitner_jax.commands import cli, tagging_flags
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime import sizes
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines

_LESS_MEMORY = "lower --batch_size"
_EXTRA = ("starlette", "uvicorn", "prometheus_client")


def define_flags() -> None:
  flags.DEFINE_string("model", None, "folder of a model, or its hub id")
  flags.DEFINE_string(
    "host", "127.0.0.1", "address to listen at; 0.0.0.0 for all of IPv4"
  )
  flags.DEFINE_integer(
    "port", 8000, "0 for any that is free", lower_bound=0, upper_bound=65535
  )
  flags.DEFINE_string("token_file", None, "file of the token callers need")
  flags.DEFINE_integer(
    "max_bytes", 1_000_000, "of the body of a request", lower_bound=1
  )
  flags.DEFINE_integer(
    "queue", 256, "requests that may wait; more get 429", lower_bound=1
  )
  flags.DEFINE_float(
    "timeout", 30.0, "seconds a request may take", lower_bound=0.001
  )
  flags.DEFINE_float(
    "window_ms",
    3.0,
    "milliseconds without a new request after which a batch begins",
    lower_bound=0,
    upper_bound=1000,
  )
  flags.DEFINE_integer(
    "batch_words", 2000, "words that are run at a time, about", lower_bound=1
  )
  tagging_flags.define_batch_size()


def check_flags() -> None:
  if not flags.FLAGS.model:
    raise UserError("--model is missing; give the folder `model` of a run")


def _token(path: str | None) -> str:
  """The token of a file, else of the environment; empty if there is none."""
  if path is None:
    return os.environ.get("SPLITNER_TOKEN", "").strip()
  token = "\n".join(read_lines(path)).strip()
  if not token or not token.isprintable():
    raise UserError(
      f"--token_file: {path} is not one line with a token; write it alone there"
    )
  return token


def _has(package: str) -> bool:
  try:
    return importlib.util.find_spec(package) is not None
  except ValueError:  # It is None in sys.modules.
    return False


def main(argv: list[str]) -> None:
  del argv
  if not all(map(_has, _EXTRA)):
    cli.fail('splitner serve needs pip install "splitner_jax[serve]"')
  try:
    _serve()
  except UserError as e:
    cli.fail(str(e))
  except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)


def _serve() -> None:
  from splitner_jax.runtime.progress import start_log
  from splitner_jax.serving import app, server
  from splitner_jax.serving.batching import Batcher, Limits
  from splitner_jax.serving.metrics import Metrics

  start_log()
  values = flags.FLAGS
  token = _token(values.token_file)
  bound = server.bind(values.host, values.port)
  with sizes.told(_LESS_MEMORY):
    ner = SplitNER.from_pretrained(values.model, batch_size=values.batch_size)

  def on_ready(error: Exception | None) -> None:
    if error is None:
      server.say(f"serving {values.model} at {server.address(bound)}")
      return
    said = sizes.out_of_memory(error)
    if said:
      server.say(f"error: {values.model}: {said}; {_LESS_MEMORY}")
    else:
      said = " ".join(f"{type(error).__name__}: {error}".split())
      server.say(f"error: {values.model}: cannot be run ({said[:200]})")
    os._exit(1)

  batcher = Batcher(
    ner,
    Limits(
      values.batch_words,
      values.window_ms / 1000,
      values.queue,
      4 * values.max_bytes,
    ),
    on_ready=on_ready,
    on_batch=lambda batch: metrics.count_batch(batch),
  )
  metrics = Metrics(batcher.__len__)
  service = app.Service(
    ner, batcher, metrics, values.timeout, values.max_bytes, token
  )
  running = server.Server(app.make(service), batcher)
  server.listen(bound)
  batcher.start()
  running.run(sockets=[bound])
