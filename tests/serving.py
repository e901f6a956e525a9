"""A server in a thread of the test, and what asks it."""

import asyncio
import contextlib
import dataclasses
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from splitner_jax import Entity, SplitNER
from splitner_jax.serving import app, server
from splitner_jax.serving.batching import Batcher, Limits
from splitner_jax.serving.metrics import Metrics
from splitner_jax.tasks.systems import SYSTEMS
from tests.tiny_system import Capitals


@dataclasses.dataclass
class Gated(Capitals):
  """`Capitals` that warms up and tags only while gates are open.

  Attributes:
    is_warm, may_tag: the gates.
    is_tagging: was it asked to tag since this was cleared?
    seen: the first words of the sentences it was given at a time.
  """

  is_warm: threading.Event = dataclasses.field(default_factory=threading.Event)
  may_tag: threading.Event = dataclasses.field(default_factory=threading.Event)
  is_tagging: threading.Event = dataclasses.field(
    default_factory=threading.Event
  )
  kind: Any = SYSTEMS["splitner"]
  card: str = ""
  seen: list[list[str]] = dataclasses.field(default_factory=list)

  def warm_up(self) -> None:
    self.is_warm.wait(20)

  def predict(self, sentences, examples, **options):
    self.is_tagging.set()
    assert self.may_tag.wait(20)
    self.seen.append([s.words[0] for s in sentences])
    return super().predict(sentences, examples, **options)


def wait_for(condition: Any) -> None:
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def gated(*, is_open: bool = True) -> tuple[SplitNER, Gated]:
  """A fake that is warm, and may tag or waits for that."""
  found = Gated()
  found.is_warm.set()
  if is_open:
    found.may_tag.set()
  return SplitNER(found), found  # type: ignore[arg-type]


@dataclasses.dataclass
class Running:
  """A server that runs.

  Attributes:
    port: where it listens.
    end: begins its end.
  """

  port: int
  batcher: Batcher
  end: Any


@contextlib.contextmanager
def running(
  ner: SplitNER, limits: Limits | None = None, **options: Any
) -> Iterator[Running]:
  """Serves in a thread, with options of `app.Service`."""
  limits = limits or Limits()
  batcher = Batcher(ner, limits, on_batch=lambda b: metrics.count_batch(b))
  metrics = Metrics(batcher.__len__)
  service = app.Service(ner, batcher, metrics, **options)
  bound = server.bind("127.0.0.1", 0)
  server.listen(bound)
  loops: list[asyncio.AbstractEventLoop] = []
  begun = threading.Event()

  async def serve() -> None:
    loops.append(asyncio.get_running_loop())
    begun.set()
    await served.serve(sockets=[bound])

  served = server.Server(app.make(service), batcher)
  thread = threading.Thread(target=lambda: asyncio.run(serve()))
  port = bound.getsockname()[1]
  batcher.start()
  thread.start()
  begun.wait()
  ended = threading.Event()

  def end() -> None:
    # A second time would end this process.
    if not ended.is_set():
      ended.set()
      # Before it is ready, too.
      wait_for(lambda: batcher.is_ready)
      loops[0].call_soon_threadsafe(served.end)

  try:
    yield Running(port, batcher, end)
  finally:
    end()
    thread.join()


def call(
  port: int,
  path: str = "/predict",
  body: Any = None,
  *,
  method: str | None = None,
  headers: dict[str, str] | None = None,
) -> tuple[int, Any, dict[str, str]]:
  """Status, JSON and headers of an answer; a body that is no bytes is JSON."""
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
  if body is not None and not isinstance(body, bytes):
    body = json.dumps(body).encode()
  method = method or ("GET" if body is None else "POST")
  with contextlib.closing(connection):
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    found = {key.lower(): value for key, value in response.getheaders()}
    if found["content-type"] != "application/json":
      return response.status, content.decode(), found
    return response.status, json.loads(content), found


def begin(port: int, body: Any) -> socket.socket:
  """A socket on which a question was sent; its answer was not read."""
  found = socket.create_connection(("127.0.0.1", port), timeout=60)
  data = json.dumps(body).encode()
  found.sendall(
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    % (len(data), data)
  )
  return found


def read(asked: socket.socket) -> tuple[int, Any]:
  """Status and JSON of the answer on a socket."""
  with asked, contextlib.closing(http.client.HTTPResponse(asked)) as response:
    response.begin()
    return response.status, json.loads(response.read())


def assert_same(found: list[list[dict]], expected: list[list[Entity]]) -> None:
  """Offsets and types are equal, scores nearly."""
  for row, entities in zip(found, expected, strict=True):
    for one, entity in zip(row, entities, strict=True):
      assert list(one) == ["text", "label", "start", "end", "score"]
      assert tuple(one.values())[:4] == entity[:4]
      assert abs(one["score"] - entity.score) < 1e-4
