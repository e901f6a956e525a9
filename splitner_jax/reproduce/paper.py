"""The figures of the paper (Split-NER, ACL 2023), to stand beside ours."""

DATASETS = {
  "wnut17": "WNUT17",
  "bionlp13cg": "BioNLP13CG",
  "ctireports": "CTIReports",
  "ontonotes": "OntoNotes 5",
}
"""Data sets by the name of their config, with the paper's name."""


def _row(bionlp: float, cti: float, onto: float, wnut: float) -> dict:
  return {
    "bionlp13cg": bionlp,
    "ctireports": cti,
    "ontonotes": onto,
    "wnut17": wnut,
  }


MENTION_F1 = {
  "qa_qa": _row(86.75, 74.96, 90.86, 57.25),
  "no_char_pattern": _row(86.70, 74.05, 90.58, 56.24),
  "seqtag_qa": _row(86.08, 73.84, 90.30, 56.10),
  "single_qa": _row(86.68, 71.70, 89.02, 43.45),
  "single_seqtag": _row(87.08, 72.36, 88.64, 44.97),
}
"""Table 2: mention-level micro F1, by the paper's own protocol."""

DETECTION_F1 = {
  "qa_qa": _row(91.06, 78.86, 92.50, 55.21),
  "no_char_pattern": _row(90.67, 78.70, 92.37, 54.85),
}
"""Table 4: span detection alone, with and without the two features."""

FEATURES_F1 = {
  "no_char_pattern": {"bionlp13cg": 90.67},
  "char": {"bionlp13cg": 90.64},
  "pattern": {"bionlp13cg": 90.75},
  "qa_qa": {"bionlp13cg": 91.06},
  "both_pos": {"bionlp13cg": 90.89},
}
"""Table 5: span detection by the features."""

CLASSIFICATION_F1 = {
  "dice": _row(94.27, 87.84, 96.74, 73.40),
  "qa_qa": _row(94.04, 87.58, 96.50, 73.31),
}
"""Table 6: types of gold mentions, dice loss and cross entropy."""

QUESTIONS_F1 = {
  "no_char_pattern": {"bionlp13cg": 90.67},
  "where": {"bionlp13cg": 90.38},
  "find": {"bionlp13cg": 90.32},
  "no_question": {"bionlp13cg": 90.48},
}
"""Table 7: span detection by the question, without the two features."""
