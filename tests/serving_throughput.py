"""How much of the speed of `predict` is left for the callers of a server.

  python -m tests.serving_throughput --model=MODEL --input=TEXTS [--mixed]

Server and bulk prediction take turns on the same machine; each caller sends the
next text as soon as it has its answer.
"""

import asyncio
import itertools
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from absl import app, flags

from splitner_jax import SplitNER

_MODEL = flags.DEFINE_string("model", None, "Folder of a model.", required=True)
_INPUT = flags.DEFINE_string(
  "input", None, "Text file, one text a line.", required=True
)
_MIXED = flags.DEFINE_bool("mixed", False, "Join 1 to 20 lines to a text.")
_CALLERS = flags.DEFINE_integer("callers", 64, "Callers at a time.")
_SECONDS = flags.DEFINE_float("seconds", 10, "Of each turn.")
_TURNS = flags.DEFINE_integer("turns", 5, "Of each of both.")

_LINES = [1, 1, 1, 2, 3, 5, 10, 20]


def _texts() -> list[str]:
  text = pathlib.Path(_INPUT.value).read_text("utf-8")
  lines = [line for line in text.splitlines() if line.strip()]
  if not _MIXED.value:
    return lines
  coming, rng = iter(lines), random.Random(0)
  found = []
  while some := list(itertools.islice(coming, rng.choice(_LINES))):
    found.append("\n".join(some))
  return found


async def _call(port: int, texts: Iterator[str], end: float) -> int:
  """Asks until it is late; returns how often."""
  reader, writer = await asyncio.open_connection("127.0.0.1", port)
  count = 0
  while time.monotonic() < end:
    body = json.dumps({"text": next(texts)}).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"content-length: (\d+)", answer)
    if not answer.startswith("HTTP/1.1 200") or not length:
      raise RuntimeError(answer)
    await reader.readexactly(int(length[1]))
    count += 1
  writer.close()
  return count


async def _serve(port: int, texts: list[str], seconds: float) -> float:
  """Texts a second of a server."""
  start, coming = time.monotonic(), itertools.cycle(texts)
  counts = await asyncio.gather(
    *(_call(port, coming, start + seconds) for _ in range(_CALLERS.value))
  )
  return sum(counts) / (time.monotonic() - start)


def _predict(ner: SplitNER, texts: list[str], seconds: float) -> float:
  """Texts a second of bulk prediction."""
  start, count = time.monotonic(), 0
  while time.monotonic() - start < seconds:
    ner.predict(texts)
    count += len(texts)
  return count / (time.monotonic() - start)


def main(_: list[str]) -> None:
  texts = _texts()
  length = statistics.mean(map(len, texts))
  print(f"{len(texts)} texts of {length:.0f} characters on average")
  ner = SplitNER.from_pretrained(_MODEL.value)
  ner.warm_up()
  ner.predict(texts)
  command = [sys.executable, "-m", "splitner_jax.serve", "--port=0"]
  command.append(f"--model={_MODEL.value}")
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    assert server.stderr
    port = int(server.stderr.readline().rpartition(":")[2])
    try:
      asyncio.run(_serve(port, texts, 3))
      ratios = []
      for _ in range(_TURNS.value):
        served = asyncio.run(_serve(port, texts, _SECONDS.value))
        bulk = _predict(ner, texts, _SECONDS.value)
        ratios.append(served / bulk)
        print(
          f"served {served:.1f} texts/s, predict {bulk:.1f}, "
          f"ratio {ratios[-1]:.3f}",
          flush=True,
        )
    finally:
      server.terminate()
  low, high = min(ratios), max(ratios)
  print(f"median {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
  app.run(main)
