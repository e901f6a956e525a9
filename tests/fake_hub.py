"""A model hub on loopback: what uploads and downloads of models ask of one."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_a_test"
_SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
  """The hub.

  Attributes:
    models: the files of each, by id.
    private: of each, whether it was made private.
    cards: metadata that was sent to be checked.
    unknown: requests that it has no answer for.
  """

  daemon_threads = True

  def __init__(self) -> None:
    super().__init__(("127.0.0.1", 0), _Handler)
    self.models: dict[str, dict[str, bytes]] = {}
    self.private: dict[str, bool | None] = {}
    self.cards: list[str] = []
    self.objects: dict[str, bytes] = {}
    self.unknown: list[str] = []

  @property
  def url(self) -> str:
    return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def running() -> Iterator[Hub]:
  """A hub that answers until the block ends."""
  with Hub() as hub:
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
      yield hub
    finally:
      hub.shutdown()
      thread.join()


class _Handler(BaseHTTPRequestHandler):
  server: Hub
  protocol_version = "HTTP/1.1"

  def log_message(self, format: str, *args: Any) -> None:
    pass

  def do_GET(self) -> None:
    self._route()

  def do_HEAD(self) -> None:
    self._route()

  def do_POST(self) -> None:
    self._route()

  def do_PUT(self) -> None:
    self._route()

  def _send(
    self, body: bytes | Any, status: int = 200, **headers: object
  ) -> None:
    if not isinstance(body, bytes):
      body = json.dumps(body).encode()
      headers["Content-Type"] = "application/json"
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), str(value))
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)

  def _route(self) -> None:
    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
    path = self.path.partition("?")[0]
    if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", None) or (
      self.command in ("POST", "PUT")
      and not path.startswith("/object/")
      and self.headers.get("Authorization") is None
    ):
      self._send({"error": "Invalid credentials"}, 401)
      return
    for pattern, answer in (
      (r"POST /api/repos/create", self._create),
      (r"POST /api/validate-yaml", self._validate),
      (r"POST /api/models/(.+)/preupload/main", self._preupload),
      (r"POST /(.+)\.git/info/lfs/objects/batch", self._objects),
      (r"PUT /object/(\w+)", self._put),
      (r"POST /api/models/(.+)/commit/main", self._commit),
      (r"GET /api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", self._info),
      (r"GET /api/models/(.+)/tree/[^/]+", self._tree),
      (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/[^/]+/(.+)", self._file),
    ):
      match = re.fullmatch(pattern, f"{self.command} {path}")
      if match:
        answer(body, *match.groups())
        return
    self.server.unknown.append(f"{self.command} {self.path}")
    self._send({"error": "not here"}, 404)

  def _create(self, body: bytes) -> None:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in self.server.models:
      self._send({"url": f"{self.server.url}/{name}"}, 409)
      return
    self.server.models[name] = {}
    self.server.private[name] = asked.get("private") or (
      asked.get("visibility") == "private"
    )
    self._send({"url": f"{self.server.url}/{name}", "id": name})

  def _validate(self, body: bytes) -> None:
    self.server.cards.append(json.loads(body)["content"])
    self._send({"warnings": [], "errors": []})

  def _preupload(self, body: bytes, name: str) -> None:
    modes = [
      {
        "path": file["path"],
        "uploadMode": "lfs"
        if file["path"].endswith(".safetensors")
        else "regular",
        "shouldIgnore": False,
      }
      for file in json.loads(body)["files"]
    ]
    self._send({"files": modes})

  def _objects(self, body: bytes, name: str) -> None:
    self._send(
      {
        "transfer": "basic",
        "objects": [
          {
            "oid": each["oid"],
            "size": each["size"],
            "actions": {
              "upload": {"href": f"{self.server.url}/object/{each['oid']}"}
            },
          }
          for each in json.loads(body)["objects"]
        ],
      }
    )

  def _put(self, body: bytes, digest: str) -> None:
    assert hashlib.sha256(body).hexdigest() == digest
    self.server.objects[digest] = body
    self._send(b"")

  def _commit(self, body: bytes, name: str) -> None:
    files = self.server.models[name]
    for line in body.splitlines():
      entry = json.loads(line)
      value = entry["value"]
      if entry["key"] == "file":
        files[value["path"]] = base64.b64decode(value["content"])
      elif entry["key"] == "lfsFile":
        files[value["path"]] = self.server.objects[value["oid"]]
      elif entry["key"] == "deletedFile":
        del files[value["path"]]
    self._send(
      {
        "commitUrl": f"{self.server.url}/{name}/commit/{_SHA}",
        "commitOid": _SHA,
      }
    )

  def _info(self, body: bytes, name: str) -> None:
    if name not in self.server.models:
      self._send(
        {"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound"
      )
      return
    names = [{"rfilename": path} for path in self.server.models[name]]
    self._send({"id": name, "sha": _SHA, "siblings": names, "private": False})

  def _tree(self, body: bytes, name: str) -> None:
    self._send(
      [
        {
          "type": "file",
          "path": path,
          "size": len(data),
          "oid": hashlib.sha1(data).hexdigest(),
        }
        for path, data in self.server.models[name].items()
      ]
    )

  def _file(self, body: bytes, name: str, path: str) -> None:
    data = self.server.models.get(name, {}).get(path)
    if data is None:
      self._send({"error": "no"}, 404, X_Error_Code="EntryNotFound")
      return
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    self._send(data, ETag=etag, X_Repo_Commit=_SHA)
