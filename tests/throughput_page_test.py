"""The page and the pictures of a benchmark, from a made-up report."""

import copy
import pathlib
import re
from typing import Any

import pytest

from splitner_jax.evaluation import pictures
from splitner_jax.runtime.errors import UserError
from splitner_jax.throughput import page, plots

_AXES = ("tokens", "types", "mentions")


def _speed(rate: float, **more: Any) -> dict[str, Any]:
  """A phase of a system, with quartiles at 0.9 and 1.2 of its rate."""
  return {"sentences_per_s": rate, "quartiles": [0.9 * rate, 1.2 * rate]} | more


def _point(value: float, splitner: float, single: float) -> dict[str, Any]:
  systems = {
    name: {"train": _speed(rate), "inference": _speed(3 * rate)}
    for name, rate in (("splitner", splitner), ("single_qa", single))
  }
  return {"value": value, "systems": systems}


def _least() -> dict[str, Any]:
  """The report of a run that had time for one phase of one system."""
  return {
    "format": 1,
    "version": "0.9",
    "command": "splitner benchmark --config=configs/demo.py --budget=3",
    "machine": {
      "name": "1 x cpu (2 cores, x86_64)",
      "backend": "cpu",
      "devices": 1,
      "dtype": "float32",
    },
    "workload": {"name": "demo", "types": 4},
    "systems": {"splitner": {"train": {"sentences_per_s": 50.1}}},
  }


@pytest.fixture
def report() -> dict[str, Any]:
  """One with all there may be, of which few figures are alike."""
  training = _speed(
    50.0,
    tokens_per_s=3100.0,
    tokens_per_sentence=60.2,
    padding=0.031,
    programs=2,
    compile_s=21.4,
    peak_bytes=730_000_000,
    flops_per_s=5.15e10,
    mfu=0.412,
    turns=9,
  )
  times = {"p50_ms": 12.3, "p95_ms": 15.4, "p99_ms": 17.5, "texts_per_s": 81.0}
  tokens = [_point(200, 20.0, 4.0), _point(50, 90.0, 30.0)]
  tokens.append(_point(100, 50.0, 10.0))
  for point, flops in zip(tokens, (3.3e9, 2.7e9, 3.0e9), strict=True):
    point["systems"]["splitner"]["train"]["flops_per_token"] = flops
  made = _least()
  made["machine"] |= {
    "matmul_flops_per_s": 1.25e11,
    "process_peak_bytes": 2_400_000_000,
  }
  made["workload"] |= {
    "train_sentences": 300,
    "inference_sentences": 128,
    "tokens_per_sentence": 21.3,
    "mentions_per_100_tokens": 8.1,
    "backbone": "minilm",
  }
  made["systems"] = {
    "splitner": {
      "train": training,
      "inference": _speed(150.0),
      "latency": {"64": times | {"p99_ms": 99.5}, "8": times},
    },
    "single_qa": {"train": _speed(14.3), "inference": _speed(75.0)},
    "torch_tagger": {"train": _speed(71.4)},
  }
  return made | {
    "ratios": {
      "train": {"single_qa": 3.5, "torch_tagger": 0.7},
      "inference": {"single_qa": 2.0},
    },
    "ratio_quartiles": {"train": {"single_qa": [3.41, 3.62]}},
    "token_ratios": {"train": {"single_qa": 3.8}},
    "weighted_token_ratios": {"train": {"single_qa": 4.15}},
    "parts": {
      "splitner": {
        "detector": {"step_s": 0.2, "parts": {"other": 0.01, "LSTM": 0.19}},
        "classifier": {"step_s": 0.1, "parts": {"pooling": 0.1}},
      }
    },
    "grid": {
      "base": {"tokens": 100, "types": 5, "mentions": 8.0},
      "tokens": tokens,
      "types": [_point(2, 50.0, 25.0), _point(20, 40.0, 5.0)],
      "mentions": [_point(2.5, 80.0, 40.0)],
    },
    "left_out": ["latency: no time left", "of single_seqtag: all"],
  }


def _rows(text: str, *start: str) -> list[list[str]]:
  """The rows of all tables that start with these cells."""
  rows = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in text.split("\n")
    if line.startswith("|")
  ]
  return [row for row in rows if row[: len(start)] == list(start)]


def _section(text: str, title: str) -> str:
  [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
  return found


def test_what_is_read_first_is_the_ratios(report):
  text = page.markdown(report, {"train": {"single_qa": 5.69}})

  first, second, table, *_ = text.split("\n\n")
  assert first == "# Throughput on demo, as in the paper's Table 3"
  assert "SplitNER is 1" in second
  head, _, *rows = _rows(table)
  heads = "ratio, token ratio, reached, weighted token ratio, paper's ratio"
  assert head == ["phase", "against", *heads.split(", ")]
  single = ["3.50 (3.41 to 3.62)", "3.80", "92.1 %", "4.15", "5.69"]
  assert rows == [
    ["training", "Single(QA)", *single],
    ["training", "tagger on PyTorch", "0.70", *["-"] * 4],
    ["inference", "Single(QA)", "2.00", *["-"] * 4],
  ]
  assert "paper" not in page.markdown(report)


def test_a_phase_has_all_figures_of_its_systems(report):
  text = page.markdown(report)

  training = _section(text, "Training")
  [[_, *figures]] = _rows(training, "SplitNER")
  assert figures[:4] == ["50.0 (45.0 to 60.0)", "3,100", "60.2", "3.1 %"]
  assert figures[4:] == ["2", "21.4", "730", "51.5", "41.2 %", "9"]
  other = ["tagger on PyTorch", "71.4 (64.3 to 85.7)", *["-"] * 9]
  assert _rows(training, "tagger on PyTorch") == [other]
  # Columns without any figure are not there.
  inference = _rows(_section(text, "Inference"))
  assert inference[0] == ["system", "sentences/s"]
  assert inference[2:] == [
    ["SplitNER", "150 (135 to 180)"],
    ["Single(QA)", "75.0 (67.5 to 90.0)"],
  ]


def test_latencies_and_parts_of_a_step(report):
  text = page.markdown(report)

  assert _rows(_section(text, "Latency"), "SplitNER") == [
    ["SplitNER", "8", "12.3", "15.4", "17.5", "81.0"],
    ["SplitNER", "64", "12.3", "15.4", "99.5", "81.0"],
  ]
  head, _, *rows = _rows(_section(text, "Parts of a training step"))
  assert head[1:] == ["SplitNER, detector", "SplitNER, classifier"]
  assert rows == [
    ["LSTM", "190 (95.0 %)", "-"],
    ["pooling", "-", "100 (100.0 %)"],
    ["other", "10.0 (5.0 %)", "-"],
    ["whole step", "200", "100"],
  ]


def test_tables_of_the_grid(report):
  text = page.markdown(report)

  tokens = _section(text, "By the length of sentences")
  assert "All else stays: 5 entity types, 8 mentions per 100 tokens." in tokens
  training, inference = tokens.split("### Inference")
  # 1e6 / (90 * 50), and so on; costs are relative to those at 100.
  assert _rows(training, "SplitNER") == [
    ["SplitNER", "50", "90.0 (81.0 to 108)", "1.00", "222", "1.11", "0.90"],
    ["SplitNER", "100", "50.0 (45.0 to 60.0)", "1.00", "200", "1.00", "1.00"],
    ["SplitNER", "200", "20.0 (18.0 to 24.0)", "1.00", "250", "1.25", "1.10"],
  ]
  assert _rows(training, "Single(QA)")[0][3:] == ["3.00", "667", "0.67", "-"]
  assert "relative FLOPs" not in inference
  assert _rows(inference, "Single(QA)")[0][3:] == ["3.00", "222", "0.67"]

  training = _section(text, "By the number of types").split("###")[1]
  assert _rows(training, "SplitNER", "20")[0][3:] == ["1.00", "250", "1.25"]
  assert _rows(training, "Single(QA)", "20")[0][3:] == ["8.00", "2,000", "5.00"]

  training = _section(text, "By the density of mentions").split("###")[1]
  assert _rows(training, "SplitNER", "2.5")[0][3:] == ["1.00", "125", "1.00"]


def test_costs_are_relative_to_the_first_point_if_100_was_not_measured(report):
  report["grid"]["tokens"] = [_point(80, 50.0, 10.0), _point(50, 90.0, 30.0)]
  del report["grid"]["tokens"][0]["systems"]["splitner"]

  training = _section(page.markdown(report), "By the length of sentences")

  assert _rows(training, "SplitNER")[0][3:] == ["1.00", "222", "1.00"]
  assert _rows(training, "Single(QA)", "80")[0][3:] == ["-", "1,250", "1.88"]


def test_how_it_was_made_and_what_was_left_out(report):
  text = page.markdown(report)

  left_out = _section(text, "What was left out").strip()
  assert left_out == "- latency: no time left\n- of single_seqtag: all"
  made = _section(text, "How it was made")
  assert f"```\n{report['command']}\n```" in made
  for figure in (
    "splitner_jax 0.9 on demo: 300 sentences in training, 128 in inference, 4 "
    "entity types, 21.3 tokens a sentence, 8.1 mentions per 100 tokens, "
    "backbone minilm.",
    "1 x cpu (2 cores, x86_64), computing in float32.",
    "125 GFLOP/s",
    "2,400 MB",
    "- *MFU*: these operations over those of the machine's measured matrix",
  ):
    assert figure in made


def test_each_term_belongs_to_a_column(report):
  text = page.markdown(report, {"train": {"single_qa": 5.69}})

  # A column that is called otherwise would lose its meaning.
  for term in page._TERMS:
    assert f"- *{term}*: " in text


def test_what_was_not_measured_is_absent(report):
  text = page.markdown(_least())

  assert re.findall("^#.*", text, re.M) == [
    "# Throughput on demo",
    "## Training",
    "## How it was made",
  ]
  assert _rows(text) == [
    ["system", "sentences/s"],
    ["--------", "----------:"],
    ["SplitNER", "50.1"],
  ]
  assert re.findall(r"^- \*(.*)\*", text, re.M) == ["sentences/s"]
  absent = _least() | {"systems": {}, "grid": {"base": {}, "tokens": []}}
  assert "|" not in page.markdown(absent)
  del report["grid"]["types"], report["systems"]["splitner"]["latency"]
  texts = (text, page.markdown(absent), page.markdown(report))
  for each in texts:
    assert not re.search(r"None|nan|inf\b|\{|\n\n\n", each)
  assert "number of types" not in texts[-1]
  assert "Latency" not in texts[-1]


def test_a_system_without_a_name_is_shown_as_it_is(report):
  report["systems"]["new_one"] = {"train": _speed(20.0)}
  report["ratios"]["train"]["new_one"] = 2.5

  text = page.markdown(report)

  assert _rows(text, "training", "new_one")[0][2] == "2.50"
  assert _rows(text, "new_one") == [
    ["new_one", "20.0 (18.0 to 24.0)", *["-"] * 9]
  ]


@pytest.mark.parametrize(
  "axes", [(), ("tokens",), ("types", "mentions"), _AXES]
)
def test_pictures_of_the_axes_that_there_are(report, tmp_path, axes):
  for axis in set(_AXES) - set(axes):
    del report["grid"][axis]
  if not axes:
    del report["grid"]

  paths = plots.draw(report, tmp_path)

  names = [f"by-{axis}.png" for axis in axes]
  assert paths == [tmp_path / name for name in names]
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
  for path in paths:
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
  assert re.findall(r"!\[.*\]\((.*)\)", page.markdown(report)) == names


def test_the_same_report_is_the_same_bytes(report, tmp_path):
  def drawn(given: dict[str, Any], folder: str) -> list[bytes]:
    (tmp_path / folder).mkdir()
    return [p.read_bytes() for p in plots.draw(given, tmp_path / folder)]

  before = copy.deepcopy(report)
  first = drawn(report, "a")

  assert report == before
  assert drawn(report, "b") == first
  report["grid"]["tokens"][0]["systems"]["single_qa"]["train"] = _speed(5.0)
  changed = drawn(report, "c")
  assert changed[0] != first[0]
  assert changed[1:] == first[1:]


def test_a_folder_that_is_not_there(report, tmp_path):
  with pytest.raises(UserError, match=r"by-tokens\.png: cannot be written"):
    plots.draw(report, tmp_path / "nowhere")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
  """Those that are saved, by their files."""
  saved: dict[str, Any] = {}

  def save(figure: Any, path: pathlib.Path) -> None:
    saved[path.name] = figure

  monkeypatch.setattr(pictures, "save_png", save)
  return saved


def _line(panel: Any, name: str) -> tuple[Any, list[tuple[float, float]]]:
  """A line, and the ends of its error bars."""
  [found] = [c for c in panel.containers if c.get_label() == name]
  line, _, [bars] = found.lines
  return line, [tuple(ends[:, 1]) for ends in bars.get_segments()]


def test_a_panel_of_each_phase_and_a_line_of_each_system(report, figures):
  for point in report["grid"]["types"]:
    for phases in point["systems"].values():
      del phases["inference"]

  plots.draw(report, pathlib.Path())

  titles = {
    name: [panel.get_title() for panel in figure.axes]
    for name, figure in figures.items()
  }
  both = ["Training", "Inference"]
  assert titles == {
    "by-tokens.png": both,
    "by-types.png": ["Training"],
    "by-mentions.png": both,
  }
  panel = figures["by-tokens.png"].axes[0]
  assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
  assert panel.get_xlabel() == "tokens of a sentence"
  assert panel.get_ylabel() == "sentences/s"
  assert list(panel.get_xticks()) == [50, 100, 200]
  legend = [text.get_text() for text in panel.get_legend().get_texts()]
  assert legend == ["SplitNER", "Single(QA)"]
  line, bars = _line(panel, "SplitNER")
  assert line.get_xydata().tolist() == [[50, 90], [100, 50], [200, 20]]
  assert bars == [pytest.approx(e) for e in ((81, 108), (45, 60), (18, 24))]

  panel = figures["by-types.png"].axes[0]
  assert (panel.get_xscale(), panel.get_xlabel()) == ("linear", "entity types")
  assert all(tick.is_integer() for tick in panel.get_xticks())

  panel = figures["by-mentions.png"].axes[0]
  assert panel.get_ylabel() == "µs per sentence token"
  assert panel.get_ylim()[0] == 0
  line, bars = _line(panel, "SplitNER")
  assert line.get_xydata().tolist() == [[2.5, 125]]
  assert bars == [pytest.approx((125 / 1.2, 125 / 0.9))]


def test_a_system_has_the_same_colour_in_all_pictures(report, figures):
  grid = report["grid"]
  for point in grid["types"]:
    point["systems"] = {
      "a_new_one": point["systems"].pop("single_qa"),
      **point["systems"],
    }
  del grid["mentions"][0]["systems"]["splitner"]
  grid["mentions"][0]["systems"]["a_new_one"] = {"train": _speed(1.0)}

  plots.draw(report, pathlib.Path())

  looks: dict[str, set[tuple[str, str]]] = {}
  for figure in figures.values():
    for panel in figure.axes:
      for container in panel.containers:
        line = container.lines[0]
        look = (line.get_color(), line.get_marker())
        looks.setdefault(container.get_label(), set()).add(look)
  assert looks.keys() == {"SplitNER", "Single(QA)", "a_new_one"}
  assert {len(each) for each in looks.values()} == {1}
  assert len(set.union(*looks.values())) == 3
