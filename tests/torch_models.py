"""PyTorch twins of our models, for tests and for making numbers.

Encoders are those of transformers; the rest follows the paper, with the names
and the padding rules of the reference's checkpoints.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding


def make_encoder(
  family: str, config: dict[str, Any], pooler: bool
) -> nn.Module:
  """A randomly initialised encoder, without dropout.

  Args:
    family: its `model_type`.
    config: fields of its config.json.
    pooler: whether it has one, if the family does.
  """
  options = {} if pooler else {"add_pooling_layer": False}
  made = AutoConfig.for_model(**{**config, "model_type": family})
  if family == "t5":  # Without its decoder.
    return AutoModelForTextEncoding.from_config(made).eval()
  return AutoModel.from_config(made, **options).eval()


class TextCNN(nn.Module):
  """16 filters for each of 50 channels and each width, maximum, linear."""

  def __init__(self, rows: int, num_widths: int):
    super().__init__()
    self.emb = nn.Embedding(rows, 50)
    self.num_widths = num_widths
    for i in range(num_widths):
      conv = nn.Conv1d(50, 800, kernel_size=i + 1, groups=50)
      setattr(self, f"char_conv_{i}", conv)
    self.lin = nn.Linear(800 * num_widths, 768)

  def forward(self, ids: torch.Tensor) -> torch.Tensor:
    chars = self.emb(ids.flatten(0, 1)).transpose(1, 2)
    pooled = [
      getattr(self, f"char_conv_{i}")(chars).max(dim=2).values
      for i in range(self.num_widths)
    ]
    features = self.lin(functional.relu(torch.cat(pooled, dim=1)))
    return features.unflatten(0, ids.shape[:2])


class TaskModel(nn.Module):
  """A detector, tagger or classifier; see `parity_cases` on descriptions."""

  def __init__(self, description: dict[str, Any]):
    super().__init__()
    self.family = description["encoder"]
    self.is_classifier = description["model"] == "classifier"
    self.loss_name = description["loss"]
    self.features = description["features"]
    # The reference's BERT detector has a pooler without using it.
    pooler = self.is_classifier or self.family == "bert"
    encoder = make_encoder(self.family, description["config"], pooler)
    setattr(self, self.family, encoder)
    width = description["config"]["hidden_size"]
    if "char" in self.features:
      self.char_cnn = TextCNN(95, 5)
      width += 768
    if "pattern" in self.features:
      self.pattern_name = (
        "pattern_cnn" if self.family == "roberta" else "pattern_emb"
      )
      setattr(self, self.pattern_name, TextCNN(42, 3))
      self.pattern_lstm = nn.LSTM(
        768, 256, bidirectional=True, batch_first=True
      )
      width += 512
    self.classifier = nn.Linear(width, description["num_labels"])

  def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    mask = inputs["attention_mask"]
    encoded = getattr(self, self.family)(
      inputs["input_ids"],
      attention_mask=mask,
      token_type_ids=inputs["token_type_ids"],
    )
    outputs = {"hidden": encoded.last_hidden_state}
    if self.is_classifier:
      x = outputs["pooled"] = encoded.pooler_output
    else:
      parts = [encoded.last_hidden_state]
      if "char" in self.features:
        parts.append(self.char_cnn(inputs["char_ids"]))
      if "pattern" in self.features:
        texts = getattr(self, self.pattern_name)(inputs["pattern_ids"])
        packed = nn.utils.rnn.pack_padded_sequence(
          texts, mask.sum(1), batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(
          self.pattern_lstm(packed)[0],
          batch_first=True,
          total_length=mask.shape[1],
        )
        parts.append(hidden)
      x = torch.cat(parts, dim=-1)
    outputs["classifier_input"] = x
    outputs["logits"] = self.classifier(x)
    outputs["loss"] = LOSSES[self.loss_name](
      outputs["logits"].flatten(0, -2), inputs["labels"].flatten()
    )
    return outputs


def dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
  """Dice loss of the items whose label is not negative."""
  real = labels >= 0
  p = logits[real].sigmoid()
  y = functional.one_hot(labels[real], logits.shape[-1])
  top = 2 * (y * p).sum(0) + 1e-8
  return 1 - (top / (y.sum(0) + p.sum(0) + 1e-8)).mean()


LOSSES = {"cross_entropy": functional.cross_entropy, "dice": dice}


def train_three_steps(model: nn.Module, loss, clip_norm: float) -> None:
  """AdamW at 1e-4, decay 0.01 except for biases and normalisations."""
  named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]

  def is_plain(name: str) -> bool:
    return name.endswith("bias") or "norm" in name.lower()

  plain = [p for n, p in named if is_plain(n)]
  decayed = [p for n, p in named if not is_plain(n)]
  optimizer = torch.optim.AdamW(
    [
      {"params": decayed, "weight_decay": 0.01},
      {"params": plain, "weight_decay": 0.0},
    ],
    lr=1e-4,
  )
  for _ in range(3):
    optimizer.zero_grad()
    loss().backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
