"""Throughput: the arithmetic, on made-up timings, traces and sentences."""

import importlib.util
import json
import pathlib
import threading
import time
import types

import numpy as np
import pytest

from configs import demo
from splitner_jax import pretrained
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from splitner_jax.throughput import (
  backbones,
  benchmark,
  figures,
  flops,
  latency,
  paper,
  parts,
  training,
  turns,
  workloads,
)
from splitner_jax.throughput.compiled import Compiled
from splitner_jax.throughput.measuring import Clock, Settings
from splitner_jax.throughput.sides import Side
from splitner_jax.throughput.workloads import Point
from tests import tiny, tiny_tasks


@pytest.fixture
def backbone(tmp_path: pathlib.Path) -> pathlib.Path:
  return tiny.make_backbone(tmp_path / "tiny-bert")


def _nothing() -> None:
  pass


def test_a_pass_is_that_of_all_tasks():
  sides = {
    "detector": Side(_nothing, turns_a_pass=10.0),
    "classifier": Side(_nothing, turns_a_pass=2.5),
  }
  taken = {"detector": [1.0, 2.0], "classifier": [4.0, 8.0]}

  assert figures.pass_seconds(sides, taken).tolist() == [20.0, 40.0]


def test_figures_of_a_phase():
  compiled = Compiled()
  compiled.programs = {"a": 0, "b": 0}
  compiled.seconds, compiled.peak_bytes = 7.0, 1_000
  sides = {
    "detector": Side(_nothing, 1.0, 900.0, 1_000.0, 6e9, compiled),
    "classifier": Side(_nothing, 1.0, 300.0, 500.0, 2e9, compiled),
  }

  found = figures.phase(sides, np.array([2.0, 4.0, 8.0]), 100, 400, 1e10)

  assert found == {
    "sentences_per_s": 25.0,
    "quartiles": [pytest.approx(100 / 6), pytest.approx(100 / 3)],
    "tokens_per_s": 300.0,
    "tokens_per_sentence": 12.0,
    "turns": 3,
    "padding": pytest.approx(0.2),
    "flops_per_s": 2e9,
    "flops_per_token": 2e7,
    "mfu": 0.2,
    # Both tasks' programs are in one place, and are counted once.
    "programs": 2,
    "compile_s": 7.0,
    "peak_bytes": 1_000,
  }


def test_what_is_unknown_is_absent():
  found = figures.phase({"t": Side(_nothing)}, np.array([1.0]), 10, 20, 1e10)

  assert not found.keys() & {"padding", "mfu", "programs", "peak_bytes"}


def test_ratios_are_of_turns_side_by_side():
  # A busy machine makes the second turn twice as slow, for both.
  seconds = {"splitner": np.array([1.0, 2.0]), "other": np.array([3.0, 6.0])}

  assert figures.ratios(seconds) == ({"other": 3.0}, {"other": [3.0, 3.0]})
  assert figures.ratios({"other": np.array([1.0])}) == ({}, {})


def _sides(**tokens: float) -> dict[str, Side]:
  return {task: Side(_nothing, tokens=each) for task, each in tokens.items()}


def test_token_ratios_and_the_weight_of_features():
  sides = {
    "splitner": _sides(detector=100.0, classifier=50.0),
    "single_qa": _sides(tagger=600.0),
    "plain": _sides(plain=75.0),
  }

  assert figures.token_ratios(sides) == {"single_qa": 4.0, "plain": 0.5}
  # Features are half of a step, so that a token with them counts twice.
  features = {"splitner": {"detector": 0.5}, "single_qa": {"tagger": 0.9}}
  weighted = figures.weighted_token_ratios(sides, features)
  assert weighted == {"single_qa": 1200 / 250, "plain": 75 / 250}


def test_the_paper_s_ratios():
  assert paper.ratios("demo") == {}
  found = paper.ratios("wnut17")
  assert found["train"]["single_qa"] == pytest.approx(568.2 / 122.9)
  assert found["inference"]["single_seqtag"] == pytest.approx(18.6 / 26.0)


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 5), (25, 6)])
def test_sides_take_turns_in_rotation(monkeypatch, seconds, rounds):
  clock, calls = [0.0], []
  monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

  def act(name, takes):
    calls.append(name)
    # Something interrupts the second turn of each.
    clock[0] += takes + 4.0 * (len(calls) in (3, 4))

  found = turns.take_turns(
    {"slow": lambda: act("slow", 2.0), "fast": lambda: act("fast", 1.0)},
    seconds,
  )

  assert found["slow"] == [2.0, 6.0] + [2.0] * (rounds - 2)
  assert found["fast"] == [1.0, 5.0] + [1.0] * (rounds - 2)
  both = ["slow", "fast", "fast", "slow"]
  assert calls == (both * rounds)[: 2 * rounds]
  assert turns.take_turns({}, 1.0) == {}


def test_the_clock_leaves_out_what_does_not_fit(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  clock = Clock(2.0)

  assert clock.share(20.0) == 20.0
  with clock.piece():
    now[0] += 70.0
  assert not clock.fits("more")
  assert clock.left_out == ["more: no time left of 2 minutes"]
  assert clock.share(20.0) == 12.5
  assert Clock(None).fits("anything")


def test_parts_by_the_path_of_a_module():
  step = "jit(step)/jvp(TokenClassifier)"
  back = "jit(step)/transpose(jvp(TokenClassifier))"
  layer = f"{back}/encoder/layer_3"
  found = {
    path: parts.part_of(path)
    for path in (
      "",
      f"{step}/encoder/embeddings/norm/mul",
      f"{step}/encoder/attention_biases/select_n",
      f"{layer}/attention/query/dot_general",
      f"{layer}/attention_norm/add",
      f"{layer}/intermediate/dot_general",
      f"{step}/char/conv_1/mul",
      f"{step}/pattern/lstm/while/body/dot_general",
      f"{step}/classifier/dot_general",
      "jit(step)/adam/mul",
    )
  }

  assert list(found.values()) == [
    "other",
    "embedding",
    "attention",
    "attention",
    "feed-forward",
    "feed-forward",
    "features",
    "LSTM",
    "head",
    "optimizer",
  ]


def _event(name: str | None, start: float, duration: float):
  stats = {} if name is None else {"hlo_op": name}
  return types.SimpleNamespace(
    start_ns=start * 1e9, duration_ns=duration * 1e9, stats=stats.items()
  )


def test_an_operation_within_another_counts_for_itself():
  text = """
  %loop.1 = f32[] while(%a), metadata={op_name="jit(f)/jvp(M)/pattern/lstm/w"}
  ROOT %dot.2 = f32[] dot(%a), metadata={op_name="jit(f)/jvp(M)/classifier/d"}
  %copy.3 = f32[] copy(%a)
  """
  thread = types.SimpleNamespace(
    events=[
      _event("dot.2", 1, 3),
      _event("loop.1", 0, 10),
      _event(None, 0, 100),
      _event("copy.3", 12, 1),
      _event("dot.2", 5, 1),
    ]
  )
  other = types.SimpleNamespace(events=[_event("dot.2", 0, 2)])
  trace = types.SimpleNamespace(
    planes=[types.SimpleNamespace(lines=[thread, other])]
  )

  assert parts.busy(trace, parts.paths(text)) == {
    "LSTM": 6.0,
    "head": 6.0,
    "other": 1.0,
  }


def test_pairs_of_tokens_that_see_each_other(backbone):
  tokenizer = Tokenizer(str(backbone), PairStyle(), 512)
  sentences = tiny_tasks.random_sentences(10, 30)
  classifier = tiny_tasks.classifier(tokenizer)
  examples, _ = classifier.training_examples(sentences)
  assert examples.parts.max() > 1

  for window in (None, 3):
    pairs = 0
    for i in range(len(examples)):
      of_example = examples[i].parts
      for part in of_example:
        seen = sum((other == 0) or (other == part) for other in of_example)
        pairs += seen if window is None else min(seen, window)
    assert flops._visible(examples, window) == pairs


def test_operations_of_an_encoder(backbone):
  tokenizer = Tokenizer(str(backbone), PairStyle(), 512)
  detector = tiny_tasks.detector(tokenizer)
  examples, _ = detector.training_examples(tiny_tasks.random_sentences(10, 30))
  encoder = detector.model.encoder
  h, f = encoder.hidden_size, encoder.intermediate_size
  weights = encoder.num_layers * (4 * h * h + 2 * h * f)
  attention = 4 * h * encoder.num_layers * float((examples.lengths**2).sum())

  found = flops.forward_flops(detector, examples)

  assert found == 2 * weights * examples.lengths.sum() + attention


@pytest.mark.parametrize(
  "point", [Point(50, 3, 8.0), Point(100, 5, 2.0), Point(20, 2, 33.0)]
)
def test_made_up_sentences(backbone, point):
  tokenizer = Tokenizer(str(backbone), PairStyle(), 1_100)

  made = workloads.sentences(tokenizer, point)

  sizes = tokenizer([s.words for s in made]).sizes()
  assert set(sizes.tolist()) == {point.tokens}
  spans = [span for s in made for span in s.spans]
  density = 100 * len(spans) / sizes.sum()
  assert density == pytest.approx(point.mentions, rel=0.02)
  assert len({span.label for span in spans}) == point.types
  for sentence in made:
    ends = [0, *(span.end for span in sentence.spans)]
    starts = [*(span.start for span in sentence.spans), point.tokens]
    assert all(e <= s for e, s in zip(ends, starts, strict=True))
  assert made == workloads.sentences(tokenizer, point)


def test_a_backbone_gets_more_positions(tmp_path, backbone):
  same = backbones.sized(str(backbone), None, tmp_path / "unused")
  assert same == str(backbone)
  assert not (tmp_path / "unused").exists()

  longer = backbones.sized(str(backbone), 1_100, tmp_path / "longer")

  own, other = map(pretrained.read_backbone, (str(backbone), longer))
  assert other.encoder.max_length == 1_100
  assert other.encoder.hidden_size == own.encoder.hidden_size
  Tokenizer(longer, PairStyle(), 1_100)


@pytest.mark.parametrize("size", backbones.SIZES)
def test_published_sizes_are_read(tmp_path, minilm, size):
  del minilm  # Whose tokenizer it is.
  folder = backbones.sized(f"random:{size}", None, tmp_path / size)

  found = pretrained.read_backbone(folder)

  fields = backbones.SIZES[size]
  layers = fields.get("num_hidden_layers", fields.get("num_layers"))
  assert found.encoder.num_layers == layers
  tokenizer = Tokenizer(folder, found.family.pairs, 512)
  tokenizer.check_vocabulary(found.encoder.vocab_size)


def test_latency_is_measured_with_so_many_callers(monkeypatch):
  monkeypatch.setattr(latency, "CALLERS", (1, 4))
  monkeypatch.setattr(latency, "_LEAST_CALLS", 20)
  together, most = [0], [0]
  lock = threading.Lock()

  class Slow:
    def predict(self, texts):
      assert len(texts) == 1
      with lock:
        together[0] += 1
        most[0] = max(most[0], together[0])
      time.sleep(0.005)
      with lock:
        together[0] -= 1

  found = latency.measure(Slow(), ["a", "b"], 0.0)

  assert most[0] == 4
  assert list(found) == ["1", "4"]
  for row in found.values():
    assert 5 <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
  assert found["4"]["texts_per_s"] > 2 * found["1"]["texts_per_s"]


@pytest.mark.parametrize(
  ("changed", "said"),
  [
    ({"settings": Settings(systems=("splitnr",))}, "--systems: 'splitnr'"),
    ({"settings": Settings(phases=("tag",))}, "--phases: 'tag' is none of"),
    ({"settings": Settings(phases=())}, "--phases: name some of"),
    ({"settings": Settings(seconds=0.0)}, "--seconds: 0.0 is not above 0"),
    ({"minutes": -1.0}, "--budget: -1.0 is not above 0"),
    ({"axes": {"tokens": (5,)}}, "--lengths: 5 is below 10"),
    ({"axes": {"types": (0,)}}, "--types: 0 is below 1"),
    ({"axes": {"types": (1000,)}}, "take fewer types"),
    ({"axes": {"mentions": (50.0,)}}, "not above 0 and at most 33"),
  ],
)
def test_options_without_a_meaning(tmp_path, changed, said):
  usual = {"output": tmp_path / "out", "command": "", "settings": Settings()}
  options = benchmark.Options(**(usual | changed))

  with pytest.raises(UserError, match=said):
    benchmark.run(demo.get_config(), options)

  assert not (tmp_path / "out").exists()


def test_longer_than_the_backbone_reads(tmp_path, backbone):
  config = demo.get_config()
  config.backbone = str(backbone)
  options = benchmark.Options(
    tmp_path / "out", "", Settings(), {"tokens": (20, 4_000)}
  )

  with pytest.raises(
    UserError, match=r"--lengths: 4000 tokens .* --positions="
  ):
    benchmark.run(config, options)


def test_nothing_is_written_into_what_is_no_folder(tmp_path):
  (tmp_path / "file").touch()
  options = benchmark.Options(tmp_path / "file" / "out", "", Settings())

  with pytest.raises(UserError, match="no folder can be made there"):
    benchmark.run(demo.get_config(), options)


@pytest.mark.slow
def test_all_of_it(tmp_path, backbone, monkeypatch):
  """One small run, of which every figure is there and none is null."""
  # The features are slow to compile, and nothing here depends on them.
  config = demo.get_config("no_char_pattern")
  config.tagger.features = "none"
  config.backbone = str(backbone)
  config.max_length = 200
  monkeypatch.setattr(latency, "CALLERS", (1, 2))
  monkeypatch.setattr(latency, "_LEAST_CALLS", 3)
  monkeypatch.setattr(turns, "LEAST_TURNS", 2)
  monkeypatch.setattr(training, "TURN_SECONDS", 0.01)
  systems = "splitner", "single_seqtag", "torch_tagger"
  options = benchmark.Options(
    tmp_path / "out",
    "splitner benchmark",
    Settings(systems, seconds=0.1, profile=tmp_path / "profile"),
    {"tokens": (20,)},
    positions=256,
  )

  benchmark.run(config, options)

  text = (tmp_path / "out" / "benchmark.json").read_text()
  report = json.loads(text)
  assert "null" not in text
  assert str(tmp_path) not in text
  ours = report["systems"]["splitner"]
  plain = report["systems"].pop("torch_tagger", None)
  if importlib.util.find_spec("torch"):
    assert plain["train"]["sentences_per_s"] > 0
    assert 0 < plain["train"]["padding"] < 1
    assert plain["inference"]["sentences_per_s"] > 0
  else:
    assert "torch is not installed" in " ".join(report["left_out"])
  assert set(report["systems"]) == set(systems[:2])
  grid = report["grid"]["tokens"]
  assert [row["value"] for row in grid] == [20]
  for rows in (report["systems"], grid[0]["systems"]):
    for row in (rows[system] for system in systems[:2]):
      for phase in ("train", "inference"):
        assert row[phase]["sentences_per_s"] > 0
        assert 0 < row[phase]["mfu"] < 1
        assert 0 <= row[phase]["padding"] < 0.9
        assert row[phase]["programs"] >= 1
        assert row[phase]["peak_bytes"] > 0
  assert ours["train"]["programs"] == 2
  assert set(ours["latency"]) == {"1", "2"}
  assert set(report["ratios"]) == {"train", "inference"}
  for name in ("detector", "classifier"):
    step = report["parts"]["splitner"][name]
    assert sum(step["parts"].values()) == pytest.approx(
      step["step_s"] + step["parts"]["host"]
    )
    assert {"attention", "feed-forward", "optimizer"} < set(step["parts"])
    assert list((tmp_path / "profile" / "splitner" / name).rglob("*.xplane.pb"))
  names = {p.name for p in (tmp_path / "out").iterdir()}
  assert names == {"benchmark.json", "benchmark.md", "by-tokens.png"}
