"""A server in memory that plays Google Cloud Storage, as much as is needed.

The JSON API as gcsfs, tensorstore and Google's own client use it: objects with
generations, conditions and ranges, lists with prefix and delimiter, uploads in
one or several requests. Other fakes have no generations, which tensorstore
asks for.
"""

import base64
import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http import server
from typing import Any

_OBJECT = re.compile(
  r"(?:/download|/upload)?(?:/storage/v1)?/b/(?P<bucket>[^/]+)"
  r"(?:/o(?:/(?P<name>[^/]+))?/?)?"
)


@dataclasses.dataclass
class Storage:
  """What the server holds.

  Attributes:
    buckets: that there are.
    objects: data and generation by the name, of all buckets.
    refused: nothing may be done, with this status and reason.
    read_only: nothing may be written.
    requests: how many of each method there were.
  """

  buckets: frozenset[str] = frozenset({"bucket"})
  objects: dict[str, tuple[bytes, int]] = dataclasses.field(
    default_factory=dict
  )
  refused: tuple[int, str] | None = None
  read_only: bool = False
  requests: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  uploads: dict[str, tuple[str, bytearray]] = dataclasses.field(
    default_factory=dict
  )
  lock: Any = dataclasses.field(default_factory=threading.Lock)
  numbers: Iterator[int] = dataclasses.field(
    default_factory=lambda: itertools.count(1)
  )

  def names(self, prefix: str = "bucket/") -> list[str]:
    """Of the objects, in their order."""
    return sorted(name for name in self.objects if name.startswith(prefix))


class _Handler(server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  wbufsize = -1  # Or each answer would wait for an acknowledgement.
  storage: Storage

  def _answer(
    self, status: int, data: bytes | dict[str, Any] = b"", **headers: object
  ) -> None:
    if isinstance(data, dict):
      data = json.dumps(data).encode()
      headers["Content-Type"] = "application/json"
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), str(value))
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(data)

  def _fail(self, status: int, reason: str) -> None:
    error = {"message": reason, "reason": reason}
    whole = {"code": status, "message": reason, "errors": [error]}
    self._answer(status, {"error": whole})

  def _any(self) -> None:
    address = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
    match = _OBJECT.fullmatch(address.path)
    with self.storage.lock:
      self.storage.requests[self.command] += 1
      if self.storage.refused:
        return self._fail(*self.storage.refused)
      if self.storage.read_only and self.command != "GET":
        return self._fail(403, "no storage.objects.create access")
      if not match:
        return self._fail(501, "not played")
      if match["bucket"] not in self.storage.buckets:
        return self._fail(404, "The specified bucket does not exist.")
      name = match["name"] and urllib.parse.unquote(match["name"])
      if self.command in ("POST", "PUT"):
        return self._upload(match["bucket"], query, body)
      if name:
        return self._of_object(f"{match['bucket']}/{name}", query)
      if re.search("/o/?$", address.path):
        return self._list(match["bucket"], query)
      return self._answer(200, {"name": match["bucket"], "id": match["bucket"]})

  do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

  def _resource(self, key: str) -> dict[str, Any]:
    data, generation = self.storage.objects[key]
    bucket, _, name = key.partition("/")
    return {
      "kind": "storage#object",
      "bucket": bucket,
      "name": name,
      "generation": str(generation),
      "metageneration": "1",
      "size": str(len(data)),
      "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
      "updated": "2026-01-01T00:00:00.000Z",
      "timeCreated": "2026-01-01T00:00:00.000Z",
    }

  def _holds(self, key: str, query: dict[str, str]) -> bool:
    """Whether the conditions of a request hold; else it is answered."""
    generation = str(self.storage.objects.get(key, (b"", 0))[1])
    if query.get("ifGenerationMatch", generation) != generation:
      self._fail(412, "conditionNotMet")
      return False
    if query.get("ifGenerationNotMatch") == generation:
      self._answer(304)
      return False
    return True

  def _of_object(self, key: str, query: dict[str, str]) -> None:
    # Of what is not there, a condition says more than 404.
    if not self._holds(key, query):
      return None
    if key not in self.storage.objects:
      return self._fail(404, f"No such object: {key}")
    if self.command == "DELETE":
      del self.storage.objects[key]
      return self._answer(204)
    if query.get("alt") != "media":
      return self._answer(200, self._resource(key))
    data, generation = self.storage.objects[key]
    headers: dict[str, object] = {"x_goog_generation": generation}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
    if not asked:
      return self._answer(200, data, **headers)
    size, first, last = len(data), *asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size:
      return self._fail(416, "Requested range not satisfiable")
    headers["Content_Range"] = f"bytes {start}-{end - 1}/{size}"
    return self._answer(206, data[start:end], **headers)

  def _list(self, bucket: str, query: dict[str, str]) -> None:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    items, prefixes = [], set()
    for key in self.storage.names(f"{bucket}/{prefix}"):
      name = key.removeprefix(f"{bucket}/")
      inner, found, _ = name[len(prefix) :].partition(delimiter or "\0")
      if name < start or (end and name >= end):
        continue
      if found:
        prefixes.add(prefix + inner + delimiter)
      else:
        items.append(self._resource(key))
    self._answer(200, {"items": items, "prefixes": sorted(prefixes)})

  def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
    kind = query.get("uploadType")
    if "upload_id" in query:
      return self._chunk(query["upload_id"], body)
    if kind == "media":
      return self._put(f"{bucket}/{query['name']}", query, body)
    if kind == "multipart":
      mark = body.split(b"\n", 1)[0].strip()
      _, first, second, _ = body.split(mark)
      facts = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])
      data = re.split(rb"\r?\n\r?\n", second, maxsplit=1)[1]
      return self._put(f"{bucket}/{facts['name']}", query, data[:-1])
    if kind == "resumable":
      number = str(next(self.storage.numbers))
      name = query.get("name") or json.loads(body)["name"]
      self.storage.uploads[number] = f"{bucket}/{name}", bytearray()
      place = f"http://{self.headers['Host']}{self.path}&upload_id={number}"
      return self._answer(200, Location=place)
    return self._fail(501, "not played")

  def _chunk(self, number: str, body: bytes) -> None:
    key, data = self.storage.uploads[number]
    data += body
    total = self.headers["Content-Range"].rpartition("/")[2]
    if total == "*" or len(data) < int(total):
      return self._answer(308, Range=f"bytes=0-{len(data) - 1}")
    return self._put(key, {}, bytes(data))

  def _put(self, key: str, query: dict[str, str], data: bytes) -> None:
    if self._holds(key, query):
      self.storage.objects[key] = data, next(self.storage.numbers)
      self._answer(200, self._resource(key))

  def log_message(self, format: str, *args: object) -> None:
    """Says nothing."""


class _Server(server.ThreadingHTTPServer):
  daemon_threads = True

  def handle_error(self, request: object, client_address: object) -> None:
    """Says nothing: a process that is killed hangs up."""


@contextlib.contextmanager
def running() -> Iterator[tuple[Storage, dict[str, str]]]:
  """The storage, and what the environment of its users has."""
  storage = Storage()
  handler = type("Handler", (_Handler,), {"storage": storage})
  with _Server(("127.0.0.1", 0), handler) as serving:
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
      yield storage, environment(serving.server_port)
    finally:
      serving.shutdown()
      thread.join()


def environment(port: int) -> dict[str, str]:
  """Sends what uses buckets to a port of this machine."""
  return {
    "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
    "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
    # Asks Google for the kind of a bucket, whatever the address.
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
  }
