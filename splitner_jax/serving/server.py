"""The process: its socket, its signals, its end."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from splitner_jax.runtime.errors import UserError
from splitner_jax.serving.batching import Batcher

HEAD_SECONDS = 10.0
"""That the head of a request may take."""
# Seconds for clients to read their answers at the end.
_LAST_SECONDS = 10
_BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
  """A socket at an address, which takes no connections yet.

  Args:
    host: a name or an address.
    port: 0 for any that is free.

  Raises:
    UserError: the address cannot be used.
  """
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # asyncio sends answers without delay only where the protocol is named.
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(address)
  except OSError as e:
    raise UserError(
      f"--host={host} --port={port}: {e.strerror}; choose another port or host"
    ) from e
  return found


def listen(bound: socket.socket) -> None:
  """Lets connections come; they wait until the server runs.

  Raises:
    UserError: another process was faster.
  """
  try:
    bound.listen(_BACKLOG)
  except OSError as e:
    raise UserError(
      f"--port={bound.getsockname()[1]}: {e.strerror}; choose another port"
    ) from e


def address(bound: socket.socket) -> str:
  """The URL of a socket."""
  host, port = bound.getsockname()[:2]
  return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(H11Protocol):
  """HTTP/1.1 whose errors are JSON too, and whose heads come in time."""

  _late: asyncio.TimerHandle | None = None

  def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
    super().connection_made(transport)
    self._expect_head()

  def data_received(self, data: bytes) -> None:
    super().data_received(data)
    self._expect_head()

  def connection_lost(self, exc: Exception | None) -> None:
    super().connection_lost(exc)
    self._expect_head()

  def send_400_response(self, msg: str) -> None:
    del msg
    self._refuse(400, "no HTTP")

  def _expect_head(self) -> None:
    """Lets a request begin in time, or forgets about that once it has."""
    waits = self.cycle is None or self.cycle.response_complete
    if not waits or self.transport.is_closing():
      if self._late:
        self._late.cancel()
        self._late = None
    elif not self._late:
      self._late = self.loop.call_later(
        HEAD_SECONDS, self._refuse, 408, "the request did not come in time"
      )

  def _refuse(self, status: int, detail: str) -> None:
    if self.cycle is not None:
      # What it would answer now cannot be sent.
      self.cycle.disconnected = True
      self.cycle.message_event.set()
    headers = [("content-type", "application/json"), ("connection", "close")]
    # An answer may be under way already.
    with contextlib.suppress(h11.LocalProtocolError):
      for event in (
        h11.Response(status_code=status, headers=headers),
        h11.Data(data=b'{"detail":"%s"}' % detail.encode()),
        h11.EndOfMessage(),
      ):
        self.transport.write(self.conn.send(event) or b"")
    self.transport.close()


class Server(uvicorn.Server):
  """Serves until SIGTERM or ctrl-C, then answers what is queued.

  Meanwhile it still listens, and says to everyone else that it is ending. A
  second signal ends the process at once.
  """

  def __init__(self, app: ASGIApp, batcher: Batcher):
    """Listens to nothing yet.

    Args:
      app: the application.
      batcher: whose queue is to be empty at the end.
    """
    super().__init__(
      uvicorn.Config(
        app,
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
      )
    )
    # What a client does is no matter for the log; see `batching.logged`.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
    self._batcher = batcher
    self._ending: asyncio.Task[None] | None = None

  def end(self, status: int = 0) -> None:
    """Begins the end, in the thread of the server.

    Args:
      status: of the process, if the end has begun before.
    """
    if self._ending or not self._batcher.is_ready:
      os._exit(status)
    self._batcher.close()
    self._ending = asyncio.ensure_future(self._end())

  async def _end(self) -> None:
    await asyncio.to_thread(self._batcher.join)
    self.should_exit = True

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Takes the place of uvicorn's, which kills the process in the end."""
    if threading.current_thread() is threading.main_thread():
      loop = asyncio.get_running_loop()
      for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, self._on_signal, number)
    yield

  def _on_signal(self, number: int) -> None:
    # Before it is ready there is nothing to lose.
    self.end(128 + number if self._ending else 0)


def say(line: str) -> None:
  """Writes a line to standard error."""
  print(line, file=sys.stderr, flush=True)
