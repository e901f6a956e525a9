"""The server: answers, statuses, and who waits for whom."""

import contextlib
import http.client
import json
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.datastructures import URL
from starlette.requests import Request

import splitner_jax
from splitner_jax import SplitNER
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.serving import batching, openapi, server
from splitner_jax.serving.batching import Limits
from splitner_jax.tasks.decoding import Decoding
from tests import serving, tiny_system
from tests.serving import call, gated, running

TEXTS = [
  "ada likes so so oslo bay .",
  "bo is in rome",
  "",
  "#x 12 @y",
  "\ud83d",
]


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> SplitNER:
  return SplitNER(tiny_system.make(tmp_path_factory.mktemp("backbones")))


@pytest.fixture(scope="module")
def served(ner: SplitNER):
  with running(ner, Limits(batch_words=100)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    yield found


def test_answers_of_concurrent_callers(ner: SplitNER, served):
  rng = random.Random(1)
  questions, expected = [], []
  for i in range(96):
    texts = [
      f"{rng.choice(TEXTS)} {'so ' * rng.randrange(9)}{i}. Bo likes rome."
      for _ in range(rng.randrange(9))
    ]
    texts += ["ada likes so oslo bay . " * 60] * (i % 10 == 0) + TEXTS[2:]
    options = {
      "threshold": rng.choice([None, 0, 0.2, 0.5, 1]),
      "labels": rng.choice([None, ["person"], ["thing", "location"]]),
    }
    questions.append({"texts": texts} | options)
    expected.append(ner.predict(texts, **options))
  assert sum(len(e) for rows in expected for e in rows) > 300
  with ThreadPoolExecutor(16) as threads:
    answers = list(threads.map(lambda q: call(served.port, body=q), questions))
  for (status, body, _), rows in zip(answers, expected, strict=True):
    assert status == 200
    serving.assert_same(body["entities"], rows)


def test_one_text(ner: SplitNER, served):
  status, body, _ = call(served.port, body={"text": TEXTS[0]})
  assert status == 200
  serving.assert_same([body["entities"]], ner.predict(TEXTS[0]))
  assert call(served.port, body={"texts": []})[1] == {"entities": []}


def test_details(ner: SplitNER, served):
  """The scores of both steps, and the words that were read."""
  text = " ".join(TEXTS)
  _, plain, _ = call(served.port, body={"text": text})
  _, body, _ = call(served.port, body={"text": text, "details": True})
  assert plain["entities"]
  for entity, simple in zip(body["entities"], plain["entities"], strict=True):
    span, types = entity.pop("span_score"), entity.pop("types")
    assert entity == simple
    assert types[0]["label"] == entity["label"]
    assert span * types[0]["score"] == pytest.approx(entity["score"])
    scores = [t["score"] for t in types]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 1
    assert 0.9 < sum(scores) < 1.0001
  assert body["sentences"] == [
    [[start, end] for _, start, end in words] for words in ner.sentences(text)
  ]
  _, several, _ = call(served.port, body={"texts": [text, ""], "details": True})
  assert several["sentences"] == [body["sentences"], []]
  assert call(served.port, body={"text": "", "details": None})[0] == 200


def test_thresholds_of_the_model_and_of_the_caller():
  ner, fake = gated()
  fake.decoding = Decoding(thresholds=Thresholds(0.55, {"WORLD": 0.1}))
  text = "Ana, so Bo Ek, OSLO \U0001f600 \u00c9va\u0301 Lund"
  with running(ner) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    for options in (
      *({}, {"threshold": 0}, {"threshold": 0.55}, {"threshold": 0.6}),
      *({"labels": ["WORLD"]}, {"threshold": 0.5, "labels": ["name"]}),
    ):
      _, body, _ = call(found.port, body={"text": text} | options)
      [expected] = ner.predict(text, **options)
      assert expected
      serving.assert_same([body["entities"]], [expected])


def test_requests_are_joined():
  ner, fake = gated(is_open=False)
  with running(ner) as found, contextlib.ExitStack() as stack:
    serving.wait_for(lambda: found.batcher.is_ready)
    first = stack.enter_context(serving.begin(found.port, {"text": "First"}))
    serving.wait_for(fake.is_tagging.is_set)
    others = [
      serving.begin(found.port, {"text": f"Ana{i} so"}) for i in range(20)
    ]
    serving.wait_for(lambda: len(found.batcher) == 20)
    fake.may_tag.set()
    serving.read(first)
    for i, other in enumerate(others):
      status, body = serving.read(other)
      assert status == 200
      assert [e["text"] for e in body["entities"]] == [f"Ana{i}"]
    assert fake.words == [1, 40]
    page = call(found.port, "/metrics")[1]
  assert "splitner_batch_requests_sum 21.0" in page
  assert "splitner_texts_total 21.0" in page
  assert "splitner_batch_words_sum 41.0" in page


def test_an_idle_server_waits_a_moment_for_more():
  ner, fake = gated()
  with running(ner, Limits(window=0.5)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    asked = []
    for _ in range(5):
      asked.append(serving.begin(found.port, {"text": "Ana"}))
      time.sleep(0.02)
    assert [serving.read(one)[0] for one in asked] == [200] * 5
  assert fake.words == [5]


def test_after_a_long_batch_it_waits_while_more_come(monkeypatch):
  ner, fake = gated()

  def words(seconds: float) -> list[int]:
    fake.words.clear()
    with running(ner, Limits(window=0.1)) as found:
      serving.wait_for(lambda: found.batcher.is_ready)
      fake.seconds = seconds
      assert call(found.port, body={"text": "Ana"})[0] == 200
      asked = []
      for _ in range(8):
        asked.append(serving.begin(found.port, {"text": "Ana"}))
        time.sleep(0.06)
      assert [serving.read(one)[0] for one in asked] == [200] * 8
    return fake.words

  # As long as the last batch took, here.
  monkeypatch.setattr(batching, "_PATIENCE", 1)
  assert words(0.8) == [1, 8]
  assert len(words(0.0)) > 3


def test_a_short_request_does_not_wait_for_a_huge_one():
  ner, fake = gated(is_open=False)
  huge = {"text": "Huge was this. " * 5000}
  with running(ner, Limits(batch_words=1000)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    asked = serving.begin(found.port, huge)
    serving.wait_for(fake.is_tagging.is_set)
    short = serving.begin(found.port, {"text": "Short one"})
    serving.wait_for(lambda: len(found.batcher) == 2)
    fake.may_tag.set()
    assert serving.read(short)[0] == 200
    _, body = serving.read(asked)
  assert len(body["entities"]) == 5000
  assert body["entities"][-1]["start"] == 15 * 4999
  # In the batch after the one that was under way.
  assert ["Short" in words for words in fake.seen].index(True) == 1
  assert len(fake.words) == 20
  assert max(fake.words) < 1200


def test_many_empty_texts_take_turns_too():
  ner, fake = gated()
  with running(ner, Limits(batch_words=1000)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    status, body, _ = call(found.port, body={"texts": [""] * 5000 + ["Ana"]})
    page = call(found.port, "/metrics")[1]
  assert status == 200
  assert len(body["entities"]) == 5001
  assert fake.words == [1]
  assert "splitner_batch_requests_sum 6.0" in page


@pytest.mark.parametrize(
  ("body", "field", "detail"),
  [
    (b"", "body", "no JSON: "),
    (b'{"text": "a"', "body", "no JSON: "),
    (b'{"text": NaN}', "body", "NaN is no number"),
    (b'{"text": "a", "text": "b"}', "body", "appears twice"),
    (b"\xff\xfe\x00", "body", "no JSON: "),
    (b"[" * 100_000, "body", "too deep"),
    (b'{"text": "a", "threshold": %s}' % (b"1" * 5000), "body", "no JSON: "),
    ([], "body", "no object"),
    ({}, "text", "missing"),
    ({"text": "a", "texts": []}, "texts", "beside text"),
    ({"text": 3}, "text", "no string"),
    ({"text": None}, "text", "no string"),
    ({"texts": "a"}, "texts", "no list"),
    ({"texts": ["a", 3]}, "texts", "texts[1] is no string"),
    ({"text": "a", "threshold": 1.5}, "threshold", "from 0 to 1"),
    ({"text": "a", "threshold": -1}, "threshold", "from 0 to 1"),
    ({"text": "a", "threshold": True}, "threshold", "no number"),
    ({"text": "a", "threshold": "1"}, "threshold", "no number"),
    ({"text": "a", "labels": ["city"]}, "labels", "'city' is none of the ty"),
    ({"text": "a", "labels": []}, "labels", "is empty"),
    ({"text": "a", "labels": "person"}, "labels", "no list"),
    ({"text": "a", "labels": [["person"]]}, "labels", "labels[0] is no str"),
    ({"text": "a", "details": 1}, "details", "neither true nor false"),
    ({"text": "a", "color": 1}, "color", "'color' is no field"),
  ],
)
def test_what_is_no_question(served, body, field: str, detail: str):
  status, said, _ = call(served.port, body=body)
  assert status == 422
  assert said["field"] == field
  assert detail in said["detail"]
  assert "\n" not in said["detail"]


def test_other_paths_and_methods(served):
  assert call(served.port, "/no")[:2] == (404, {"detail": "Not Found"})
  assert call(served.port, "/predict/", {})[0] == 404
  status, body, headers = call(served.port, "/predict", method="GET")
  assert (status, body) == (405, {"detail": "Method Not Allowed"})
  assert headers["allow"] == "POST"
  assert call(served.port, "/health", method="POST")[0] == 405
  with socket.create_connection(("127.0.0.1", served.port), 20) as broken:
    broken.sendall(b"no HTTP\r\n\r\n")
    assert serving.read(broken) == (400, {"detail": "no HTTP"})


def test_facts(served):
  facts = call(served.port, "/model")[1]
  assert facts == {
    "labels": ["location", "person", "thing"],
    "system": "SplitNER",
    "thresholds": {"location": 0.0, "person": 0.0, "thing": 0.0},
    "card": "# A card\n",
    "splitner_jax": splitner_jax.__version__,
  }
  assert call(served.port, "/health")[:2] == (200, {"status": "alive"})
  assert call(served.port, "/ready")[:2] == (200, {"status": "ready"})
  call(served.port, body={"text": 1})
  status, page, headers = call(served.port, "/metrics")
  assert status == 200
  assert headers["content-type"].startswith("text/plain; version=")
  assert "splitner_queue_length 0.0" in page
  assert 'splitner_requests_total{route="/predict",status="422"}' in page
  assert 'splitner_request_seconds_bucket{le="0.1",route="/model"}' in page


def test_the_description_has_all_routes(served):
  status, found, _ = call(served.port, "/openapi.json")
  assert (status, found) == (200, openapi.document())
  for path, methods in found["paths"].items():
    for method in ("GET", "POST"):
      status = call(served.port, path, method=method)[0]
      assert (status == 405) == (method.lower() not in methods), path


def test_large_bodies():
  ner, _ = gated()
  with running(ner, max_bytes=1000) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    fits = json.dumps({"text": "Ana " * 200}).encode()
    assert call(found.port, body=fits.ljust(1000))[0] == 200
    status, body, _ = call(found.port, body=fits.ljust(1001))
    assert (status, body) == (413, {"detail": "more than 1000 bytes"})
    # Its sender can read the answer although nobody wants the rest.
    last = {"Connection": "close"}
    large = b" " * 50_000_000
    assert call(found.port, body=large, headers=last)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", found.port)
    with contextlib.closing(connection):
      chunks = iter([fits[:500], b" " * 600, b" " * 2_000_000])
      connection.request("POST", "/predict", chunks, encode_chunked=True)
      assert connection.getresponse().status == 413


def test_before_it_is_warm():
  ner, fake = gated()
  fake.is_warm.clear()
  with running(ner) as found:
    assert call(found.port, "/health")[0] == 200
    assert call(found.port, "/ready")[0] == 503
    status, body, _ = call(found.port, body={"text": "Ana"})
    assert (status, body) == (503, {"detail": "not ready, or ending"})
    fake.is_warm.set()
    serving.wait_for(lambda: call(found.port, "/ready")[0] == 200)
    assert call(found.port, body={"text": "Ana"})[0] == 200


def test_tokens():
  ner, _ = gated()
  with running(ner, token="s\u00e9same") as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    for path in ("/health", "/ready"):
      assert call(found.port, path)[0] == 200
    for path in ("/model", "/metrics", "/openapi.json", "/predict", "/no"):
      status, body, headers = call(found.port, path)
      assert (status, body) == (401, {"detail": "give the token"})
      assert headers["www-authenticate"] == "Bearer"
    for given, status in {
      "Bearer s\u00e9same": 200,
      "bearer s\u00e9same ": 200,
      "Bearer sesame": 401,
      "Bearer": 401,
      "Basic s\u00e9same": 401,
      "s\u00e9same": 401,
    }.items():
      headers = {"Authorization": given.encode().decode("latin-1")}
      question = {"text": "Ana"}
      assert call(found.port, "/predict", question, headers=headers)[0] == (
        status
      ), given


def test_what_is_open_is_decided_by_what_is_routed(monkeypatch):
  """Not by what a client says that its host is, of which a URL is made."""
  monkeypatch.setattr(Request, "url", URL("/health"))
  ner, _ = gated()
  with running(ner, token="sesame") as found:
    assert call(found.port, "/predict", {"text": "Ana"})[0] == 401


def test_a_full_queue():
  ner, fake = gated(is_open=False)
  with running(ner, Limits(requests=2, characters=150)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    asked = [serving.begin(found.port, {"text": "Ana " * 60})]
    serving.wait_for(fake.is_tagging.is_set)
    asked.append(serving.begin(found.port, {"text": "Bo"}))
    serving.wait_for(lambda: len(found.batcher) == 1)
    status, body, headers = call(found.port, body={"text": "Bo " * 40})
    assert (status, body) == (429, {"detail": "the queue is full; come again"})
    assert headers["retry-after"] == "1"
    # Empty texts are work, and answers, too.
    assert call(found.port, body={"texts": [""] * 3})[0] == 429
    asked.append(serving.begin(found.port, {"text": "Cy"}))
    serving.wait_for(lambda: len(found.batcher) == 2)
    assert call(found.port, body={"text": "Di"})[0] == 429
    fake.may_tag.set()
    assert [serving.read(one)[0] for one in asked] == [200] * 3
    assert call(found.port, body={"text": "Di"})[0] == 200


def test_when_to_come_again(monkeypatch: pytest.MonkeyPatch):
  """As long as what waits will take, at the pace so far."""
  ner, fake = gated()
  monkeypatch.setattr(batching, "_PACES", 1)
  with running(ner, Limits(requests=1)) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    fake.seconds = 0.5
    assert call(found.port, body={"text": "Ana " * 25})[0] == 200
    fake.seconds = 0.0
    fake.may_tag.clear()
    fake.is_tagging.clear()
    asked = [serving.begin(found.port, {"text": "Ana"})]
    serving.wait_for(fake.is_tagging.is_set)
    asked.append(serving.begin(found.port, {"text": "Ana " * 400}))
    serving.wait_for(lambda: len(found.batcher) == 1)
    _, _, headers = call(found.port, body={"text": "Bo"})
    assert 8 <= int(headers["retry-after"]) <= 12
    fake.may_tag.set()
    assert [serving.read(one)[0] for one in asked] == [200] * 2


def test_time_out():
  ner, fake = gated(is_open=False)
  with running(ner, timeout=0.3) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    status, body, _ = call(found.port, body={"text": "Ana"})
    assert (status, body) == (504, {"detail": "not answered in 0.3 s"})
    # In the queue, where it is dropped.
    assert call(found.port, body={"text": "Never"})[0] == 504
    assert len(found.batcher) == 0
    with socket.create_connection(("127.0.0.1", found.port), 20) as slow:
      slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9")
      slow.sendall(b"\r\n\r\n{")
      assert serving.read(slow)[0] == 408
    fake.may_tag.set()
  assert fake.seen == [["Ana"]]


def test_a_client_that_leaves_costs_nothing():
  ner, fake = gated(is_open=False)
  with running(ner) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    first = serving.begin(found.port, {"text": "First"})
    serving.wait_for(fake.is_tagging.is_set)
    gone = serving.begin(found.port, {"text": "Gone"})
    serving.wait_for(lambda: len(found.batcher) == 1)
    gone.close()
    serving.wait_for(lambda: len(found.batcher) == 0)
    last = serving.begin(found.port, {"text": "Last"})
    serving.wait_for(lambda: len(found.batcher) == 1)
    fake.may_tag.set()
    assert serving.read(first)[0] == serving.read(last)[0] == 200
    page = call(found.port, "/metrics")[1]
  assert fake.seen == [["First"], ["Last"]]
  assert 'requests_total{route="/predict",status="499"} 1.0' in page


def test_the_end_answers_what_is_queued():
  ner, fake = gated(is_open=False)
  with running(ner) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    asked = [serving.begin(found.port, {"text": "First"})]
    serving.wait_for(fake.is_tagging.is_set)
    asked += [serving.begin(found.port, {"text": "Ana"}) for _ in range(9)]
    serving.wait_for(lambda: len(found.batcher) == 9)
    found.end()
    serving.wait_for(lambda: call(found.port, "/ready")[0] == 503)
    assert call(found.port, "/health")[0] == 200
    assert call(found.port, body={"text": "Late"})[0] == 503
    fake.may_tag.set()
    assert [serving.read(one)[0] for one in asked] == [200] * 10


def test_internal_errors(caplog: pytest.LogCaptureFixture, monkeypatch):
  ner, fake = gated()
  with running(ner) as found:
    serving.wait_for(lambda: found.batcher.is_ready)
    with monkeypatch.context() as patch:
      patch.setattr(fake, "explain", lambda *_: 1 // 0)
      status, body, _ = call(found.port, body={"text": "Ana " * 3000})
    assert status == 500
    assert call(found.port, body={"text": "Ana"})[0] == 200
    with monkeypatch.context() as patch:
      patch.setattr(openapi, "document", lambda: {}["a\nb"])
      _, other, _ = call(found.port, "/openapi.json")
  first, second = (r.getMessage() for r in caplog.records)
  said = "integer division or modulo by zero"
  assert first == f"{body['detail']}: ZeroDivisionError: {said}"
  assert second == f"{other['detail']}: KeyError: 'a\\nb'"
  assert len(body["detail"]) < 30
  assert not any(r.exc_info for r in caplog.records)


def test_a_head_that_does_not_come(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
  ner, fake = gated()
  with running(ner) as found:
    for sent in (b"", b"GET /health HTTP/1.1\r\nHost"):
      with socket.create_connection(("127.0.0.1", found.port), 20) as slow:
        slow.sendall(sent)
        assert serving.read(slow)[0] == 408
    # The second request of a connection.
    with socket.create_connection(("127.0.0.1", found.port), 20) as slow:
      slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
      said = b""
      while not said.endswith(b'{"status":"alive"}'):
        said += slow.recv(1000)
      slow.sendall(b"GET /h")
      assert serving.read(slow)[0] == 408
    # One that has begun takes the time it needs.
    serving.wait_for(lambda: found.batcher.is_ready)
    fake.seconds = 0.6
    assert call(found.port, body={"text": "Ana"})[0] == 200
