"""The forward pass: answers in order, few programs, its progress."""

import collections
import contextlib
import types

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax import forward, parallel
from splitner_jax.inputs import patterns
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import num_tokens
from tests import random_examples

_LONGEST = 200
_FEATURES = ("char", "pattern")
# Far more than any batch has room for, two in three of them long.
_TEXTS = [f"{'x' * (i % 3 * 6)}{i:04d}{'-aB'[i % 3]}" for i in range(3000)]

_traces: collections.Counter = collections.Counter()


class _Echo(nn.Module):
  """A model that says what it is given at each target."""

  features: tuple[str, ...]

  @nn.compact
  def __call__(self, batch, layout) -> jax.Array:
    shapes = [(name, x.shape) for name, x in sorted(batch.items())]
    _traces[layout, str(shapes)] += 1
    assert batch["input_ids"].shape == (num_tokens(layout),)
    # Those have no use here, and would travel to the devices.
    assert not {"labels", "weights"} & batch.keys()
    targets = batch["targets"]
    says = [batch["input_ids"][targets], batch["positions"][targets]]
    for name in self.features:
      tables = [batch[f"{name}_{width}"].sum(1) for width in ("short", "long")]
      index = batch[f"{name}_index"]
      index = index if name == "char" else index[targets]
      says.append(jnp.concatenate(tables)[index])
    scale = self.param("scale", nn.initializers.ones, ())
    return scale * jnp.stack(says, axis=1).astype(jnp.float32)


def _task(
  features: tuple[str, ...] = (),
  targets_per_token: float = 1.0,
  longest: int = _LONGEST,
):
  return types.SimpleNamespace(
    name="detector",
    model=_Echo(features),
    features=features,
    tokenizer=types.SimpleNamespace(
      pad_id=0, reference=False, max_length=longest
    ),
    targets_per_token=targets_per_token,
  )


def _params():
  return parallel.replicate({"scale": np.float32(1)})


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


def _random_sets(longest: int, *, one_target: bool) -> list[Examples]:
  """Few and many, short and long, of few texts and of many."""
  rng = np.random.default_rng(0)
  sets = []
  for i, count in enumerate([1, 1, 2, 5, 20, 63, 64, 65, 150, 300]):
    most = (12, 60, longest)[i % 3]
    lengths = rng.integers(1, most + 1, count)
    lengths[-1] = most
    texts = random_examples.TEXTS if i % 4 == 0 else _TEXTS
    sets.append(
      random_examples.make(
        lengths.tolist(), one_target=one_target, vocab=30_000, texts=texts
      )
    )
  return sets


@pytest.mark.parametrize(
  ("features", "one_target", "batch_size", "longest", "programs"),
  [
    ((), False, 32, _LONGEST, 3),
    ((), True, 32, _LONGEST, 3),
    (_FEATURES, False, 32, _LONGEST, 3),
    # Small batches of four rows, one for each device, of one length: two of
    # the shapes are the same, and of the third only the tables differ.
    (_FEATURES, False, 8, 100, 2),
  ],
)
def test_answers_in_order_of_few_programs(
  features: tuple[str, ...],
  one_target: bool,
  batch_size: int,
  longest: int,
  programs: int,
) -> None:
  _traces.clear()
  task = _task(features, 1 / 8 if one_target else 1.0, longest)
  run = forward.Forward(task, batch_size)
  params = _params()
  for examples in _random_sets(longest, one_target=one_target):
    logits = run(params, examples)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, _expected(examples, features))
  assert len(_traces) == programs
  assert set(_traces.values()) == {1}


def test_padding() -> None:
  run, params = forward.Forward(_task(), 8), _params()
  devices = parallel.device_count()
  for lengths, read in (
    # A row for each device.
    ([5], 128),
    ([128] * 3 * devices, 3 * 128),
    ([_LONGEST] * 2 * devices, 2 * _LONGEST),
    ([_LONGEST] + [128] * devices, _LONGEST + 128),
  ):
    run(params, random_examples.make(lengths))
    assert run.padding == pytest.approx(1 - sum(lengths) / (devices * read))
  assert len(run(params, random_examples.make([]))) == 0
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
  run = forward.Forward(_task(), 8, progress=progress)
  run(_params(), random_examples.make([60] * 20))
  assert sum(counts) == options["total"] == 20
  assert len(counts) > 2
  assert options["disable"] is not progress
