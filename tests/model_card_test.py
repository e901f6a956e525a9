"""The model card."""

from configs import common
from splitner_jax.experiment import model_card


def test_card():
  row = {"precision": 50.0, "recall": 40.0, "f1": 44.444}
  names = ("all_sentences", "reference_protocol", "detection")
  result = {
    "splitner_jax": "0.1.0",
    "config": common.get_config().to_dict(),
    "corpus": {
      "name": "toys",
      "content_hash": "abc",
      "types": ["bear", "car"],
      "sentences": {"train": 7, "dev": 2, "test": 0},
    },
    "dev": dict.fromkeys((*names, "classification_on_gold"), row),
  }
  card = model_card.card(result, "python -m splitner_jax.main --config=x")
  assert card.startswith("---\nlibrary_name: splitner_jax\n")
  for part in (
    "bear, car",
    "44.44",
    "toys, content abc; sentences: 7 train, 2 dev, 0 test.",
    "```\npython -m splitner_jax.main --config=x\n```",
    "reference protocol",
    "sentences like toys's. Text of another kind",
    'SplitNER.from_pretrained("',
    "- learning_rate: 5e-05",
    "- classifier.max_context: 128",
    "- classifier.labels: (empty)",
  ):
    assert part in card
  assert "None" not in card
