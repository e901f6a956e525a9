"""Features of tokens; the text CNN against plain forms."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.models import features
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Tree


def _table(rows: list[list[int]], width: int) -> np.ndarray:
  table = np.zeros((len(rows), width), np.int32)
  for i, row in enumerate(rows):
    table[i, : len(row)] = row
  return table


# No character is twice in a text, so that no two windows are alike.
_TEXTS = [[3], [1, 2], [4, 3, 2, 1, 5, 6], [2, 9, 1, 3, 8, 7, 6, 5], []]


class _CNN:
  """A text CNN of widths 1 to 3, and its parameters."""

  def __init__(self, *, mask_padding: bool):
    self.module = features.TextCNN(10, range(1, 4), mask_padding)
    self.apply = jax.jit(
      lambda params, *tables: self.module.apply({"params": params}, *tables)
    )
    shapes = jax.eval_shape(
      self.module.init, jax.random.key(0), _table(_TEXTS, 8)
    )
    # Of one size: as they start, biases are 0.
    rng = np.random.default_rng(0)
    self.params = jax.tree.map(
      lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype), shapes["params"]
    )


@pytest.fixture(scope="module", params=["shifts", "products"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
  """How the CNNs compute: as on CPU and GPU, or as on TPU."""
  with pytest.MonkeyPatch.context() as patch:
    is_tpu = request.param == "products"
    patch.setattr(devices, "prefers_products", lambda: is_tpu)
    yield request.param


@pytest.fixture(scope="module")
def masked(form: str) -> _CNN:
  del form
  return _CNN(mask_padding=True)


def _naive_cnn(params, texts: list[list[int]], width: int | None) -> np.ndarray:
  """One row for each text; `width` None: the windows of its own characters."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  embedding, rows = params["embedding"], []
  for text in texts:
    pooled = []
    for taps in (1, 2, 3):
      kernel = params[f"conv_{taps}_kernel"]
      bias = params[f"conv_{taps}_bias"]
      if width is None:
        padded = [*(embedding[c] for c in text), *[np.zeros(50)] * taps]
        windows = len(text)
      else:
        padded = [embedding[c] for c in text + [0] * (width - len(text))]
        windows = width - taps + 1
      responses = [
        sum(padded[i + j] * kernel[j] for j in range(taps))
        for i in range(windows)
      ] or [np.zeros(bias.shape)]
      pooled.append((np.max(responses, axis=0) + bias).reshape(-1))
    x = np.maximum(np.concatenate(pooled), 0)
    rows.append(x @ params["output"]["kernel"] + params["output"]["bias"])
  return np.array(rows)


def test_text_cnn_against_a_loop(masked: _CNN) -> None:
  ours = masked.apply(masked.params, _table(_TEXTS, 8))
  expected = _naive_cnn(masked.params, _TEXTS, None)
  np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("form")
def test_text_cnn_of_the_reference_against_a_loop() -> None:
  cnn = _CNN(mask_padding=False)
  for width in (8, 11):
    ours = cnn.apply(cnn.params, _table(_TEXTS, width))
    expected = _naive_cnn(cnn.params, _TEXTS, width)
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-4)


def test_text_cnn_does_not_depend_on_width_and_table(masked: _CNN) -> None:
  one = np.asarray(masked.apply(masked.params, _table(_TEXTS, 8)))
  assert len({row.tobytes() for row in one}) == len(_TEXTS)
  wide = masked.apply(masked.params, _table(_TEXTS, 32))
  np.testing.assert_allclose(wide, one, atol=1e-5)
  two = masked.apply(
    masked.params, _table(_TEXTS[:2], 4), _table(_TEXTS[2:], 19)
  )
  np.testing.assert_allclose(two, one, atol=1e-5)


def test_text_cnn_gradient_is_that_of_the_maximum(masked: _CNN) -> None:
  """The winning window is found first, and only it has a gradient."""

  def plain(params, table):
    real = table > 0
    chars = params["embedding"][table] * real[..., None]
    chars = jnp.pad(chars, ((0, 0), (0, 2), (0, 0)))
    pooled = []
    for taps in (1, 2, 3):
      kernel = params[f"conv_{taps}_kernel"]
      response = sum(
        chars[:, j : j + table.shape[1], None] * kernel[j][None, None]
        for j in range(taps)
      )
      response = jnp.where(real[..., None, None], response, -jnp.inf)
      pooled.append(response.max(axis=1) + params[f"conv_{taps}_bias"][None])
    x = jax.nn.relu(jnp.concatenate(pooled, axis=1)).reshape(len(table), -1)
    output = params["output"]
    return x @ output["kernel"] + output["bias"][None]

  table = _table(_TEXTS[:4], 8)
  directions = np.random.default_rng(1).normal(size=(4, 768))

  def ours(params):
    return jnp.sum(masked.apply(params, table) * directions)

  value, gradient = jax.jit(jax.value_and_grad(ours))(masked.params)
  # Not compiled: the gradient of max looks for elements equal to the maximum,
  # and a fused program may compute them twice, with different rounding.
  expected_value, expected = jax.value_and_grad(
    lambda params: jnp.sum(plain(params, table) * directions)
  )(jax.tree.map(jnp.asarray, masked.params))
  np.testing.assert_allclose(value, expected_value, rtol=1e-5)
  assert jax.tree.structure(gradient) == jax.tree.structure(expected)
  for path, leaf in jax.tree.leaves_with_path(gradient):
    other = expected
    for key in path:
      other = other[key.key]
    scale = np.abs(other).max()
    assert scale > 0, path
    np.testing.assert_allclose(
      leaf, other, atol=1e-5 * scale, rtol=1e-4, err_msg=str(path)
    )
  # Padding is no character.
  assert not np.any(gradient["embedding"][0])


@pytest.mark.parametrize("mask_padding", [True, False])
def test_both_forms_of_a_text_cnn_are_one(mask_padding: bool) -> None:
  """Also where windows are alike: one of them has the gradient."""
  rng = np.random.default_rng(2)
  short, long = rng.integers(0, 4, (5, 6)), rng.integers(0, 4, (3, 17))
  directions = rng.normal(size=(8, features.OUTPUT_SIZE))

  def run(*, products: bool) -> tuple[jax.Array, Tree]:
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(devices, "prefers_products", lambda: products)
      cnn = _CNN(mask_padding=mask_padding)
      return jax.jit(
        jax.value_and_grad(
          lambda params: jnp.sum(cnn.apply(params, short, long) * directions)
        )
      )(cnn.params)

  (value, gradient), (other_value, other) = (
    run(products=False),
    run(products=True),
  )
  np.testing.assert_allclose(value, other_value, rtol=1e-5)
  for (path, leaf), another in zip(
    jax.tree.leaves_with_path(gradient), jax.tree.leaves(other), strict=True
  ):
    scale = np.abs(leaf).max()
    np.testing.assert_allclose(
      leaf, another, atol=1e-5 * scale, rtol=1e-4, err_msg=str(path)
    )


@pytest.mark.parametrize("mask_padding", [True, False])
def test_texts_of_tables_are_those_of_training(
  form: str, mask_padding: bool
) -> None:
  del form
  cnn = _CNN(mask_padding=mask_padding)
  table = _table(_TEXTS[:4], 8)
  pooled = features.pooled_texts(cnn.params, range(1, 4), [table], mask_padding)
  output = cnn.params["output"]
  np.testing.assert_allclose(
    np.asarray(pooled) @ output["kernel"] + output["bias"],
    cnn.apply(cnn.params, table),
    atol=1e-4,
  )


def test_dropout_of_categories() -> None:
  module = features.CategoryFeature((3,), 64, dropout=0.5)
  ids = np.ones((80, 1), np.int32)
  embedding = np.full((3, 64), 2.0, np.float32)
  params = {"params": {"embedding": embedding}}
  kept = module.apply(params, ids, False, rngs={"dropout": jax.random.key(0)})
  assert set(np.unique(kept)) == {0.0, 4.0}
  assert set(np.unique(module.apply(params, ids, True))) == {2.0}


def test_columns_of_categories_are_apart() -> None:
  module = features.CategoryFeature((2, 3), 2)
  params = {"embedding": np.arange(10.0).reshape(5, 2)}
  found = module.apply({"params": params}, np.array([[1, 0], [0, 2]]), True)
  assert found.tolist() == [[2, 3, 4, 5], [0, 1, 8, 9]]
