"""Requests at random and in crowds: all are answered as the API says."""

import contextlib
import http.client
import json
import pathlib
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from splitner_jax import SplitNER
from splitner_jax.serving import openapi, server
from splitner_jax.serving.batching import Limits
from tests import serving, tiny_system
from tests.serving import call, gated, running

# The routes whose answers are something else.
_NO_JSON = {"text/html": ("/",), "text/plain": ("/metrics", "")}


class _Fuzzer:
  """Requests at random, most of them wrong."""

  VALUES = (
    *("Ana", "", "\ud83d", ["a", "Bo"], [], [1], None, True, 0.5, 2, -1, {}),
    *({"a": []}, "x" * 3000, ["Ana"] * 50, [["a"]], 1e300, ["name"], "name"),
  )

  def __init__(self, seed: int):
    self._rng = random.Random(seed)

  def body(self) -> bytes:
    rng = self._rng
    names = ("text", "texts", "threshold", "labels", "", "t\u00e9xt", "a" * 999)
    fields = {
      rng.choice(names): rng.choice(self.VALUES)
      for _ in range(rng.randrange(4))
    }
    if rng.random() < 0.5:
      fields["text"] = "Ana so Bo"
    body = bytearray(json.dumps(fields).encode())
    for _ in range(rng.choice([0, 0, 0, 1, 5])):
      at = rng.randrange(len(body) + 1)
      body[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    cut = rng.randrange(len(body) + 1) if rng.random() < 0.3 else len(body)
    return bytes(body[:cut])

  def request(self) -> tuple[str, bytes]:
    """The path, and all that is sent."""
    rng = self._rng
    method = rng.choice(["POST"] * 8 + ["GET", "PUT", "OPTIONS", "NO-SUCH"])
    path = rng.choice(
      ["/predict"] * 8 + ["/", "/model", "/ready", "/%00%ff", "/metrics?a=%zz"]
    )
    body = self.body()
    if rng.random() < 0.3:
      pieces = [body[:7], body[7:]]
      sent = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p)
      body, length = sent + b"0\r\n\r\n", "Transfer-Encoding: chunked"
    else:
      length = f"Content-Length: {len(body)}"
    head = (
      f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}"
    )
    data = bytearray(head.encode() + b"\r\n\r\n" + body)
    if rng.random() < 0.15:  # Maybe no HTTP any more.
      data[rng.randrange(len(data))] = rng.randrange(256)
      path = "?"
    return path, bytes(data)


@pytest.mark.parametrize(
  "seeds",
  [range(200), pytest.param(range(200, 2200), marks=pytest.mark.long)],
  ids=str,
)
def test_whatever_is_sent(seeds: range, monkeypatch, capfd, caplog):
  monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
  ner, _ = gated()
  paths = openapi.document()["paths"]
  any_status = {
    s for p in paths.values() for m in p.values() for s in m["responses"]
  }
  seen = set()
  with running(ner, max_bytes=2000, timeout=1.0) as found:
    serving.wait_for(lambda: found.batcher.is_ready)

    def send(seed: int) -> None:
      path, data = _Fuzzer(seed).request()
      with socket.create_connection(("127.0.0.1", found.port), 20) as sent:
        sent.sendall(data)
        response = http.client.HTTPResponse(sent)
        with contextlib.closing(response):
          response.begin()
          body = response.read()
      status = str(response.status)
      route = path.partition("?")[0]
      if path == "?":
        assert status in any_status | {"400", "404"}, data
      elif route in paths:
        [method] = paths[route].values()
        assert status in method["responses"], data
      elif route == "/":  # The page.
        assert status in ("200", "405"), data
      else:
        assert status == "404", data
      seen.add(status)
      kind = response.getheader("content-type").partition(";")[0]
      if kind == "application/json":
        json.loads(body)
      elif path == "?":  # What is broken may still be a wish for a page.
        assert kind in _NO_JSON
      else:
        assert route in _NO_JSON[kind]
      assert b"Traceback" not in body

    with ThreadPoolExecutor(8) as threads:
      list(threads.map(send, seeds))
    assert call(found.port, body={"text": "Ana"})[0] == 200
  assert {"200", "404", "405", "413", "422"} <= seen
  assert not caplog.records
  assert "Traceback" not in "".join(capfd.readouterr())


def test_a_crowd(tmp_path: pathlib.Path):
  """More callers than fit into the queue, at once."""
  ner = SplitNER(tiny_system.make(tmp_path))
  text = "bo is in rome"
  [expected] = ner.predict(text, threshold=0)
  assert expected
  with running(ner, Limits(requests=4, batch_words=20)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)

    def ask(_: int) -> int:
      status, body, _ = call(found.port, body={"text": text, "threshold": 0})
      if status == 200:
        serving.assert_same([body["entities"]], [expected])
      return status

    with ThreadPoolExecutor(32) as threads:
      statuses = {*threads.map(ask, range(100))}
  assert statuses == {200, 429}
