"""The routes, and what surrounds each of them."""

import asyncio
import dataclasses
import hmac
import json
import math
import pathlib
import time
from collections.abc import Iterator, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import splitner_jax
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime.types import Json
from splitner_jax.serving import metrics as metrics_lib
from splitner_jax.serving import openapi, questions
from splitner_jax.serving.batching import (
  Batcher,
  ClosedError,
  FullError,
  InternalError,
  logged,
)

_PAGE = pathlib.Path(__file__).parent / "page"
_MEDIA_TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
}
_POLICY = "default-src 'self'; img-src data:; frame-ancestors 'none'"
"""The page asks nobody but the server that it came from."""
_GONE = 499
"""How a request is counted whose client has left."""
# How long the rest of a body that is not wanted is read, so that its sender
# gets to read the answer.
_LINGER_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Service:
  """What the routes use.

  Attributes:
    ner: the model.
    batcher: runs it.
    metrics: counters.
    timeout: seconds from a request to its answer.
    max_bytes: of a body.
    token: that callers need; empty: none.
  """

  ner: SplitNER
  batcher: Batcher
  metrics: metrics_lib.Metrics
  timeout: float = 30.0
  max_bytes: int = 1_000_000
  token: str = ""


class _GoneError(Exception):
  """The client has left."""


def answer(
  content: Json, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
  """JSON in ASCII: a text may hold what UTF-8 does not."""
  body = json.dumps(content, separators=(",", ":")).encode()
  return Response(body, status, headers, "application/json")


def _error(error: HTTPException) -> Response:
  return answer({"detail": error.detail}, error.status_code, error.headers)


def make(service: Service) -> ASGIApp:
  """The application."""
  ner, batcher = service.ner, service.batcher

  async def predict(request: Request) -> Response:
    end = time.monotonic() + service.timeout
    body = await _body(request, service, end)
    try:
      asked = questions.read(body, ner.labels)
    except questions.QuestionError as e:
      return answer({"detail": str(e), "field": e.field}, 422)
    try:
      job = batcher.submit(asked.texts)
    except FullError:
      seconds = max(1, math.ceil(batcher.seconds_to_go()))
      raise HTTPException(
        429, "the queue is full; come again", {"Retry-After": str(seconds)}
      ) from None
    except ClosedError:
      raise HTTPException(503, "not ready, or ending") from None
    found = asyncio.wrap_future(job.answer)
    gone = asyncio.ensure_future(_left(request))
    try:
      await asyncio.wait(
        (found, gone),
        timeout=end - time.monotonic(),
        return_when=asyncio.FIRST_COMPLETED,
      )
      if found.done():
        decoding = ner.model.decoding
        return answer(asked.answer(found.result(), decoding.thresholds))
      if gone.done():
        raise _GoneError
      raise HTTPException(504, f"not answered in {service.timeout:g} s")
    finally:
      gone.cancel()
      batcher.drop(job)

  async def model(_: Request) -> Response:
    return answer(_facts(ner))

  async def health(_: Request) -> Response:
    return answer({"status": "alive"})

  async def ready(_: Request) -> Response:
    if batcher.is_ready:
      return answer({"status": "ready"})
    raise HTTPException(503, "not ready, or ending")

  async def metrics(_: Request) -> Response:
    page = service.metrics.page()
    return Response(page, media_type=metrics_lib.CONTENT_TYPE)

  async def description(_: Request) -> Response:
    return answer(openapi.document())

  async def refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error)

  page = list(_page())
  routes = [
    Route("/predict", predict, methods=["POST"]),
    Route("/model", model),
    Route("/health", health),
    Route("/ready", ready),
    Route("/metrics", metrics),
    Route("/openapi.json", description),
    *page,
  ]
  open_to_all = {"/health", "/ready", *(r.path for r in page)}
  app = Starlette(
    routes=routes,
    middleware=[
      Middleware(_Surround, service, {r.path for r in routes}, open_to_all),
    ],
    exception_handlers={HTTPException: refused},
  )
  app.router.redirect_slashes = False
  return app


def _page() -> Iterator[Route]:
  """The files of the page for people, each at its name, the first at /."""

  def route(file: pathlib.Path) -> Route:
    content = file.read_bytes()
    kind = _MEDIA_TYPES[file.suffix]
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}

    async def endpoint(_: Request) -> Response:
      return Response(content, headers=headers, media_type=kind)

    is_first = file.name == "index.html"
    path = "/" if is_first else f"/{file.name}"
    return Route(path, endpoint, include_in_schema=False)

  return map(route, _PAGE.iterdir())


def _facts(ner: SplitNER) -> Json:
  model = ner.model
  return {
    "labels": list(ner.labels),
    "system": model.kind.title,
    "thresholds": {
      label: model.decoding.thresholds.of(label) for label in ner.labels
    },
    "card": model.card,
    "splitner_jax": splitner_jax.__version__,
  }


async def _body(request: Request, service: Service, end: float) -> bytes:
  """The body, if it is not too large and comes in time."""
  too_large = HTTPException(413, f"more than {service.max_bytes} bytes")
  # The server has refused what is no number.
  if int(request.headers.get("content-length", 0)) > service.max_bytes:
    raise too_large
  parts, size = [], 0
  try:
    async with asyncio.timeout(end - time.monotonic()):
      more = True
      while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
          raise _GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > service.max_bytes:
          raise too_large
        more = message.get("more_body", False)
  except TimeoutError:
    raise HTTPException(408, "the body did not come in time") from None
  return b"".join(parts)


async def _left(request: Request) -> None:
  """Ends when the client leaves."""
  while (await request.receive())["type"] != "http.disconnect":
    pass


class _Surround:
  """Around each request: token, counters, internal errors, unread bodies."""

  def __init__(
    self, app: ASGIApp, service: Service, paths: set[str], open_to_all: set[str]
  ):
    self._app = app
    self._service = service
    self._paths = paths
    self._open = open_to_all

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":  # The start and end of the process.
      await self._app(scope, receive, send)
      return
    path, start = scope["path"], time.monotonic()
    exchange = _Exchange(receive, send, "expect" in Request(scope).headers)
    try:
      try:
        if path in self._open or self._has_token(Request(scope)):
          await self._app(scope, exchange.receive, exchange.send)
        else:
          refusal = HTTPException(
            401, "give the token", {"WWW-Authenticate": "Bearer"}
          )
          await _error(refusal)(scope, exchange.receive, exchange.send)
      except _GoneError:
        exchange.status = _GONE
      except Exception as e:
        error = e if isinstance(e, InternalError) else logged(e)
        if not exchange.status:
          whole = answer({"detail": str(error)}, 500)
          await whole(scope, exchange.receive, exchange.send)
    finally:
      route = path if path in self._paths else "other"
      seconds = time.monotonic() - start
      self._service.metrics.count(route, exchange.status or _GONE, seconds)

  def _has_token(self, request: Request) -> bool:
    token = self._service.token
    if not token:
      return True
    given = request.headers.get("authorization", "").encode("latin-1")
    scheme, _, value = given.partition(b" ")
    same = hmac.compare_digest(value.strip(), token.encode())
    return same and scheme.lower() == b"bearer"


class _Exchange:
  """What goes to and fro in a request.

  Attributes:
    status: of the answer; 0 before it begins.
  """

  def __init__(self, receive: Receive, send: Send, is_asking: bool):
    """Of a request.

    Args:
      receive, send: as ASGI has them.
      is_asking: whether the client waits before it sends a body.
    """
    self.status = 0
    self._receive, self._send = receive, send
    self._is_read = is_asking

  async def receive(self) -> Message:
    message = await self._receive()
    if not message.get("more_body", False):
      self._is_read = True
    return message

  async def send(self, message: Message) -> None:
    if message["type"] == "http.response.start":
      self.status = message["status"]
    elif not message.get("more_body", False) and not self._is_read:
      await self._send({**message, "more_body": True})
      await self._read_rest()
      message = {"type": "http.response.body", "body": b""}
    await self._send(message)

  async def _read_rest(self) -> None:
    try:
      async with asyncio.timeout(_LINGER_SECONDS):
        while not self._is_read:
          await self.receive()
    except TimeoutError:
      pass
