"""The forward pass: answers in order, few programs, tables, its progress."""

import collections
import contextlib
import threading
import types
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inference import forward
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs import patterns
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import num_tokens
from splitner_jax.runtime import devices
from tests import random_examples

_LONGEST = 200
_FEATURES = ("char", "pattern")
# Two in three of them long.
_TEXTS = [f"{'x' * (i % 3 * 6)}{i:04d}{'-aB'[i % 3]}" for i in range(3000)]

_traces: collections.Counter = collections.Counter()


class _Echo(nn.Module):
  """A model that says what it is given at each target."""

  features: tuple[str, ...]

  @nn.compact
  def __call__(self, batch, layout, tables=None) -> jax.Array:
    shapes = [(name, x.shape) for name, x in sorted(batch.items())]
    _traces[layout, str(shapes)] += 1
    assert batch["input_ids"].shape == (num_tokens(layout),)
    # Those have no use here, and would travel to the devices.
    assert not {"labels", "weights"} & batch.keys()
    targets = batch["targets"]
    says = [batch["input_ids"][targets], batch["positions"][targets]]
    for name in self.features:
      index = batch[f"{name}_index"]
      says.append(tables[name][index if name == "char" else index[targets]])
    scale = self.param("scale", nn.initializers.ones, ())
    return scale * jnp.stack(says, axis=1).astype(jnp.float32)


def _fill(model, name, params, table, texts):
  """The sum of each text's characters, in the place of a feature."""
  del model
  _traces[name] += 1
  sums = [texts[width].sum(1) for width in ("short", "long")]
  new = (params["scale"] * jnp.concatenate(sums)).astype(jnp.int32)
  return table.at[texts["rows"]].set(new, mode="drop")


@pytest.fixture(autouse=True)
def echoing_tables(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(forward.feature_tables, "fill", _fill)
  monkeypatch.setattr(
    forward.feature_tables,
    "empty",
    lambda model, name, rows: np.full(rows, -1, np.int32),
  )
  _traces.clear()


def _forward(
  features: tuple[str, ...] = (),
  *,
  targets_per_token: float = 1.0,
  longest: int = _LONGEST,
  batch_size: int = 32,
  **options,
) -> Forward:
  task = types.SimpleNamespace(
    name="detector",
    model=_Echo(features),
    features=features,
    tokenizer=types.SimpleNamespace(
      pad_id=0, reference=False, max_length=longest
    ),
    targets_per_token=targets_per_token,
    probe=lambda: random_examples.make([1]),
  )
  params = devices.replicate({"scale": np.float32(1)})
  return Forward(Programs(task, batch_size), params, **options)


def _expected(examples: Examples, features: tuple[str, ...]) -> np.ndarray:
  where = examples.target_tokens()
  columns = [examples.ids[where], examples.positions[where]]
  texts = [examples.distinct[i] for i in examples.texts[where]]
  if "char" in features:
    columns.append([sum(patterns.character_ids(t)) for t in texts])
  if "pattern" in features:
    ids = [patterns.pattern_ids(patterns.pattern(t)) for t in texts]
    columns.append([sum(i) for i in ids])
  return np.stack(columns, axis=1)


def _random_sets(
  longest: int, counts: list[int], *, one_target: bool = False
) -> Iterator[Examples]:
  """Few and many, short and long, of few texts and of many."""
  rng = np.random.default_rng(0)
  for i, count in enumerate(counts):
    most = (12, 60, longest)[i % 3]
    lengths = rng.integers(1, most + 1, count)
    lengths[-1] = most
    texts = random_examples.TEXTS if i % 4 == 0 else _TEXTS
    yield random_examples.make(
      lengths.tolist(), one_target=one_target, vocab=30_000, texts=texts
    )


def _check_programs(forwards: int) -> None:
  """Each was traced once, and there are so many forward passes."""
  assert set(_traces.values()) == {1}
  assert sum(not isinstance(key, str) for key in _traces) == forwards


@pytest.mark.parametrize(
  ("features", "one_target", "batch_size", "longest", "programs"),
  [
    ((), False, 32, _LONGEST, 3),
    ((), True, 32, _LONGEST, 3),
    (_FEATURES, False, 32, _LONGEST, 3),
    # Small batches of four rows, one for each device, of one length: all
    # shapes are the same.
    (_FEATURES, False, 8, 100, 1),
  ],
)
def test_answers_in_order_of_few_programs(
  features: tuple[str, ...],
  one_target: bool,
  batch_size: int,
  longest: int,
  programs: int,
) -> None:
  run = _forward(
    features,
    targets_per_token=1 / 8 if one_target else 1.0,
    longest=longest,
    batch_size=batch_size,
  )
  counts = [1, 1, 2, 5, 20, 63, 64, 65, 150, 300]
  for examples in _random_sets(longest, counts, one_target=one_target):
    logits = run(examples)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, _expected(examples, features))
  _check_programs(programs)


@pytest.mark.parametrize(
  "calls", [40, pytest.param(5_000, marks=pytest.mark.slow)]
)
def test_whatever_comes_programs_stay_the_same(calls: int) -> None:
  """Lengths, counts and batch sizes at random."""
  run = _forward(_FEATURES)
  rng = np.random.default_rng(1)
  counts = rng.geometric(0.1, calls).tolist()
  for examples in _random_sets(_LONGEST, counts):
    batch_size = int(rng.integers(1, 70)) if rng.random() < 0.5 else None
    logits = run(examples, batch_size)
    np.testing.assert_array_equal(logits, _expected(examples, _FEATURES))
  _check_programs(3)
  assert {"char", "pattern"} <= _traces.keys()


def test_the_same_programs_for_all_parameters() -> None:
  run = _forward(_FEATURES)
  other = Forward(
    run.programs, devices.replicate({"scale": np.float32(2)}), progress=False
  )
  for examples in _random_sets(_LONGEST, [5, 70, 30]):
    expected = _expected(examples, _FEATURES)
    np.testing.assert_array_equal(run(examples), expected)
    # What the tables have is of their parameters.
    expected = expected * np.array([2, 2, 4, 4])
    np.testing.assert_array_equal(other(examples), expected)
  _check_programs(3)


def test_warming_up_leaves_nothing_to_compile() -> None:
  run = _forward(_FEATURES)
  shapes = run.programs.shapes
  assert [s.shape for s in run.programs.small()] == [shapes.few]
  run.warm_up()
  # The program for some is there now, so it can be used.
  small = [s.shape for s in run.programs.small()]
  assert small == [shapes.some, shapes.few]
  assert len(_traces) == 5
  for examples in _random_sets(_LONGEST, [1, 70, 3]):
    np.testing.assert_array_equal(run(examples), _expected(examples, _FEATURES))
  _check_programs(3)


@pytest.mark.parametrize("rows", [1, 1000, 1500])
def test_full_tables(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
  """What is in them and what is not, they begin anew in the middle."""
  monkeypatch.setitem(forward.TABLE_ROWS, "char", rows)
  monkeypatch.setitem(forward.TABLE_ROWS, "pattern", rows)
  run = _forward(_FEATURES, batch_size=8)
  capacity = max(rows, 4 * _LONGEST)
  seen = 0
  for examples in _random_sets(_LONGEST, [300, 7, 300, 50, 300]):
    np.testing.assert_array_equal(run(examples), _expected(examples, _FEATURES))
    table = run._tables["char"]
    assert len(table.rows) <= capacity == len(table.values)
    seen += len(table.rows) < 0.9 * capacity
  # It was begun anew.
  assert seen > 0


def test_a_call_that_fails_spoils_no_table(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  run = _forward(_FEATURES, batch_size=8)
  # Of many texts, in several batches.
  _, examples = _random_sets(_LONGEST, [1, 100])
  whole = Programs.forward
  calls = []

  def fail(self, layout):
    calls.append(layout)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return whole(self, layout)

  monkeypatch.setattr(Programs, "forward", fail)
  with pytest.raises(KeyboardInterrupt):
    run(examples)
  np.testing.assert_array_equal(run(examples), _expected(examples, _FEATURES))


def test_threads_take_turns() -> None:
  run = _forward(_FEATURES)
  sets = list(_random_sets(_LONGEST, [30, 40, 50, 60]))
  found: dict[int, np.ndarray] = {}

  def work(i: int) -> None:
    found[i] = run(sets[i])

  threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  for i, examples in enumerate(sets):
    np.testing.assert_array_equal(found[i], _expected(examples, _FEATURES))


def test_batch_size_is_the_most_of_a_batch() -> None:
  counts = []

  def bar(**_):
    update = counts.append
    return contextlib.nullcontext(types.SimpleNamespace(update=update))

  run = _forward(batch_size=8)
  examples = random_examples.make([2] * 50)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(forward, "bar", bar)
    run(examples, 7)
    assert counts == [7] * 7 + [1]
    counts.clear()
    run(examples)
    assert counts == [50]


def test_padding() -> None:
  run = _forward(batch_size=8)
  num_devices = devices.device_count()
  for lengths, read in (
    # A row for each device.
    ([5], 128),
    ([128] * 3 * num_devices, 3 * 128),
    ([_LONGEST] * 2 * num_devices, 2 * _LONGEST),
    ([_LONGEST] + [128] * num_devices, _LONGEST + 128),
  ):
    run(random_examples.make(lengths))
    assert run.padding == pytest.approx(1 - sum(lengths) / (num_devices * read))
  assert len(run(random_examples.make([]))) == 0
  assert run.padding == 0


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_the_inputs(
  progress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
  counts: list[int] = []
  options: dict = {}

  class Bar:
    update = staticmethod(counts.append)

  def bar(**given):
    options.update(given)
    return contextlib.nullcontext(Bar)

  monkeypatch.setattr(forward, "bar", bar)
  _forward(batch_size=8, progress=progress)(random_examples.make([60] * 20))
  assert sum(counts) == options["total"] == 20
  assert len(counts) > 2
  assert options["disable"] is not progress
