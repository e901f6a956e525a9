"""The command line, and the one line that each mistake of a user gets."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from configs import wnut17
from splitner_jax.experiment import run
from splitner_jax.experiment.run_folder import locked
from splitner_jax.runtime.errors import UserError
from tests import runs, tiny


def _command(*arguments, **environment) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "splitner_jax.main", *map(str, arguments)],
    env=os.environ | environment,
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


def _error(*arguments) -> str:
  """What the command says of a mistake, without `error: `."""
  process = _command(*arguments)
  assert process.returncode == 1
  assert not process.stdout
  [line] = process.stderr.splitlines()
  assert line.startswith("error: ")
  return line.removeprefix("error: ")


def test_help():
  process = _command("--help")
  assert process.returncode == 0
  assert "--config=configs/wnut17.py" in process.stdout
  for option in ("--config: ", "--workdir: ", "--[no]check: "):
    assert option in process.stdout
  assert not process.stderr


def test_what_is_wrong_is_said_before_much_is_imported():
  """What a training needs only once it reads, learns, or is scored."""
  code = (
    "import sys\n"
    "from splitner_jax.commands import train\n"
    "from splitner_jax.experiment import run\n"
    "later = {'transformers', 'tensorboardX', 'scipy', 'matplotlib'}\n"
    "sys.exit(', '.join(later & set(sys.modules)) or None)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    ([], "--train is missing; give --train=FILE and --dev=FILE, or a --config"),
    (["--config.epochs=2"], "--train is missing; give --train=FILE and --dev="),
    (["--config=configs/files.py"], "--train is missing; give --train=FILE"),
    (["--config.nonsense=1"], "config.nonsense: no such field; splitner_jax/"),
    (
      ["--config=configs/wnut17.py", "--dev=a.tsv"],
      "--dev: the config has the corpus wnut17; leave one of the two out",
    ),
    (["--config="], "--config: Path to config file is an empty string;"),
    (["--config=no.py"], "--config: No such file or directory: 'no.py'; give"),
    (["--config=tests"], "--config: Is a directory: 'tests'; give a file"),
    (
      ["--config=configs/wnut17.py:best"],
      "flag --config=configs/wnut17.py:best: no variant 'best' of this config; "
      "there are: seqtag_qa, no_char_pattern,",
    ),
    (
      ["--config.epochs=2", "--config=configs/wnut17.py"],
      "Found --config.epochs=2 in argv before a value for --config was",
    ),
  ],
)
def test_config_file_is_missing(arguments, said):
  assert said in _error(*arguments)


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("def get_config(:\n", ":1: invalid syntax; mend the file"),
    ("import no_such\n", ":1: ModuleNotFoundError: No module named 'no_such';"),
    ("def get_config():\n  return x\n", ":2: NameError: name 'x' is not def"),
    ("get = 1\n", ": AttributeError: module 'config_config' has no attribute"),
    ("def get_config():\n  return int('x')\n", ": invalid literal for int()"),
  ],
)
def test_config_file_is_broken(text, said, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(text)
  assert f"{path}{said}" in _error(f"--config={path}")


@pytest.mark.parametrize(
  ("option", "said"),
  [
    (
      "--config.nonsense=1",
      "config.nonsense: no such field; splitner_jax/experiment/default_config",
    ),
    ("--config.data.nme=x", "config.data.nme: no such field; splitner_jax/ex"),
    (
      "--config.epochs=abc",
      "flag --config.epochs=abc: invalid literal for int",
    ),
    ("--config.dropout=x", "flag --config.dropout=x: could not convert string"),
    (
      "--config.detector.epochs=1.5",
      "flag --config.detector.epochs=1.5: inval",
    ),
    ("--nonsense=1", "Unknown command line flag 'nonsense'"),
    ("--workdri=x", "Did you mean: workdir"),
    ("--config.epochs", "Missing value for flag --config.epochs"),
    ("nonsense", "unexpected argument 'nonsense'; options begin with --"),
  ],
)
def test_wrong_option(option, said, tmp_path):
  workdir = tmp_path / "run"
  error = _error("--config=configs/wnut17.py", f"--workdir={workdir}", option)
  assert said in error
  assert not workdir.exists()


@pytest.mark.parametrize(
  ("options", "said"),
  [
    (
      ["--config.tagger.scheme=BIO"],
      "--config.tagger.scheme: is not read, for config.system is splitner;",
    ),
    (
      ["--config.system=single_qa", "--config.detector.question="],
      "--config.detector.question: is not read, for config.system is single_qa",
    ),
    (
      ["--config.seed=5", "--config.seeds=1,2"],
      "--config.seed: is not read, for config.seeds is 1,2; leave it out",
    ),
    (
      ["--config.classifier.folds=3"],
      "--config.classifier.folds: is not read, for config.classifier.none_cla",
    ),
    (
      ["--backbone=minilm", "--config.backbone=minilm"],
      "--backbone: and --config.backbone; leave one of the two out",
    ),
    (
      ["--train=a.tsv", "--config.data.train=a.tsv"],
      "--train: and --config.data.train; leave one of the two out",
    ),
  ],
)
def test_a_field_that_nobody_reads(options, said, tmp_path):
  config = [] if "--train=a.tsv" in options else ["--config=configs/demo.py"]
  workdir = tmp_path / "run"
  error = _error(*config, *options, f"--workdir={workdir}")
  assert error.startswith(said)
  assert not workdir.exists()


def test_an_error_of_a_run_is_a_line_too(tmp_path):
  """And --config.x=y, --workdir do arrive."""
  folder, workdir = tmp_path / "no", tmp_path / "run"
  error = _error(
    "--config=configs/wnut17.py",
    f"--config.data.dir={folder}",
    f"--workdir={workdir}",
  )
  assert error.startswith(f"{folder}/wnut17train.conll: no such file;")
  assert not workdir.exists()


# What comes after parsing needs no process of its own.


@pytest.fixture
def config(tmp_path):
  config = wnut17.get_config()
  config.backbone = str(tiny.make_backbone(tmp_path / "backbone"))
  config.data.dir = str(tiny.make_wnut(tmp_path / "data"))
  config.max_length = 160
  config.detector.question = ""
  config.detector.features = "none"
  return config


def _refused(
  config, workdir: pathlib.Path, *, checkpoints: bool = False
) -> str:
  with pytest.raises(UserError) as caught:
    run.run(config, workdir)
  message = str(caught.value)
  assert "\n" not in message
  assert not (workdir / "report.json").exists()
  assert not (workdir / "report.md").exists()
  assert checkpoints or not list(workdir.glob("*/checkpoints/latest/[0-9]*"))
  return message


_ADA = b"Ada\tB-person\n"


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (None, ": no such file; config.data.dir must name the folder"),
    (_ADA + b"Rome\n", ":2: 1 column where 2 are needed"),
    (_ADA + b"Rome\tX-place\n", ":2: tag 'X-place' is neither O nor a BIO"),
    (_ADA + b"\nOslo\tI-location\n", ":3: I-location continues no mention"),
    (_ADA + b"\xff\tO\n", ":2: not UTF-8; convert the file"),
    (b"", ": no sentence in it; give a file with words"),
    (b"\n\n", ": no sentence in it; give a file with words"),
    (b"Ada\tB-robot\n", ":1: type 'robot' of split dev never occurs in train"),
  ],
)
def test_wrong_data(content, said, config, tmp_path):
  path = tmp_path / "data" / "emerging.dev.conll"
  path.unlink() if content is None else path.write_bytes(content)
  workdir = tmp_path / "run"
  assert f"{path}{said}" in _refused(config, workdir)
  assert not workdir.exists()


@pytest.mark.parametrize(
  ("field", "value", "said"),
  [
    ("data.name", "wnut16", "config.data.name: no corpus 'wnut16'; there are"),
    (
      "detector.features",
      "all",
      "'all' is neither none nor any of char, pattern, shape, pos, ",
    ),
    ("detector.labels_on", "words", "'words' is none of first_subtoken, all"),
    ("detector.scheme", "IOB", "'IOB' is none of BO, BIO, BIOE, BIOES"),
    (
      "detector.loss",
      "hinge",
      "'hinge' is none of cross_entropy, smoothed_cross_entropy, weighted_cro",
    ),
    (
      "classifier.loss",
      "hinge",
      "'hinge' is none of cross_entropy, smoothed_cross_entropy, weighted_cro",
    ),
    ("classifier.last_layer", "zeros", "'zeros' is none of random, names"),
    ("compute_dtype", "float16", "'float16' is none of auto, float32, bfloat"),
    ("max_length", 513, "513 is more than the 512 that"),
    ("max_length", 20, "20 is too short for the question and two words"),
    ("batch_size", 0, "0 is below the least, 1"),
    ("detector.batch_size", -8, "-8 is below the least, 1"),
    ("classifier.epochs", -1, "-1 is below the least, 0"),
    ("learning_rate", 0.0, "0.0 is not positive"),
    ("clip_norm", float("nan"), "nan is not finite"),
    ("learning_rate", float("inf"), "inf is not finite"),
    ("detector.o_bias", float("nan"), "nan is not finite"),
    ("data.train", "a.tsv", "a.tsv is not read, for config.data.name is wnut1"),
    ("data.dev_fraction", 0.1, "0.1 is not read, for config.data.name is wnut"),
    ("data.pos_column", 1, "1 is not read, for config.data.name is wnut17"),
    ("data.type_names", "persn=who", "'persn' is no type of the corpus, which"),
    ("classifier.labels", "A,B", "A,B is for a checkpoint, and none is given"),
    ("dropout", 1.0, "1.0 is not in [0, 1)"),
    ("replace_mentions", 1.5, "1.5 is no probability"),
    ("classifier.max_context", 0, "0 is below 1"),
    # As it was called when a context was a number.
    ("classifier.context", 0, "0 is below 1"),
    ("row_length", -1, "-1 is below the least, 0"),
    ("detector.loss_average", "sum", "sum is none of expected, batch"),
    ("seed", 2**32, "4294967296 is above the most, 4294967295"),
    ("seeds", "1,x", "'1,x' is no list of different numbers from 0 to 42949"),
    ("seeds", "1,1", "'1,1' is no list of different numbers from 0 to 42949"),
    ("seeds", "0,4294967296", "is no list of different numbers from 0 to 42"),
  ],
)
def test_wrong_value(field, value, said, config, tmp_path):
  config.update_from_flattened_dict({field: value})
  workdir = tmp_path / "run"
  message = _refused(config, workdir)
  assert message.startswith(f"config.{field}: ")
  assert said in message
  assert not workdir.exists()


def test_backbone_is_missing(config, tmp_path):
  config.backbone = str(tmp_path / "no" / "folder" / "here")
  message = _refused(config, tmp_path / "run")
  assert message.startswith(repr(config.backbone))
  assert not (tmp_path / "run").exists()


def test_a_tokenizer_of_more_tokens_than_the_backbone(config, tmp_path):
  path = tmp_path / "backbone" / "tokenizer.json"
  fields = json.loads(path.read_text())
  fields["model"]["vocab"]["newest"] = 10_000
  path.write_text(json.dumps(fields))
  message = _refused(config, tmp_path / "run")
  assert message.startswith(f"{path.parent}: its token 'newest' has the id 100")


@pytest.mark.parametrize("name", ["detector/tensorboard", "predictions"])
def test_something_else_is_where_a_folder_belongs(name, config, tmp_path):
  config.epochs = 0
  path = tmp_path / "run" / name
  path.parent.mkdir(parents=True)
  path.write_text("")
  with pytest.raises(UserError, match=f"{name}: no folder can be made there"):
    run.run(config, tmp_path / "run")


def test_what_fails_before_the_first_checkpoint_binds_nobody(config, tmp_path):
  weights = tmp_path / "backbone" / "model.safetensors"
  weights.rename(tmp_path / "model.safetensors")
  message = _refused(config, tmp_path / "run")
  assert message.startswith(f"{tmp_path / 'backbone'}")
  assert "model.safetensors" in message

  config.seed = 6
  assert _refused(config, tmp_path / "run") == message


def test_workdir_of_another_config(config, session_cache):
  """It is told apart by any field, and stays as it is."""
  workdir, _ = runs.finished(session_cache / "tiny")
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
  with pytest.raises(UserError) as caught:
    run.run(config, workdir)
  assert re.fullmatch(
    rf"--workdir {re.escape(str(workdir))}: holds another run "
    r"\(backbone is '.*' there, '.*' here\); choose another --workdir, or "
    r"delete it",
    str(caught.value),
  )
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_workdir_of_other_data(config, tmp_path):
  workdir = tmp_path / "run"
  with locked(config, workdir, "aaaa"):
    pass
  # Nothing is trained yet.
  with locked(config, workdir, "bbbb"):
    (workdir / "detector/checkpoints/latest/2").mkdir(parents=True)
  with locked(config, workdir, "bbbb"):
    pass
  with (
    pytest.raises(
      UserError,
      match=r"another run \(content_hash is 'bbbb' there, 'aaaa' here\);",
    ),
    locked(config, workdir, "aaaa"),
  ):
    pass


def test_workdir_of_another_config_that_saved_its_best_only(config, tmp_path):
  """As a kill between the first best and the first latest leaves it."""
  workdir = tmp_path / "run"
  with locked(config, workdir, "aaaa"):
    (workdir / "detector/checkpoints/best/1").mkdir(parents=True)
  config.learning_rate = 0.5
  with (
    pytest.raises(UserError, match=r"another run \(learning_rate is"),
    locked(config, workdir, "aaaa"),
  ):
    pass


@pytest.mark.parametrize("which", ["latest", "best"])
def test_checkpoints_without_a_config(which, config, tmp_path):
  workdir = tmp_path / "run"
  checkpoint = workdir / f"detector/checkpoints/{which}/1"
  checkpoint.mkdir(parents=True)
  assert _refused(config, workdir, checkpoints=True) == (
    f"--workdir {workdir}: has checkpoints but no config.json, which says what "
    "they are of; choose another --workdir, or delete it"
  )
  (workdir / "config.json").write_text("{")
  assert "delete the whole folder" in _refused(
    config, workdir, checkpoints=True
  )
  assert checkpoint.exists()


def test_other_files_under_the_same_name(config, tmp_path):
  """Such as a backbone's, which the config only names."""
  workdir = tmp_path / "run"
  with locked(config, workdir, "aaaa", {"detector": 1}):
    (workdir / "detector/checkpoints/latest/2").mkdir(parents=True)
  with locked(config, workdir, "aaaa", {"detector": 1}):
    pass
  with (
    pytest.raises(
      UserError, match=r"another run \(sources.detector is 1 there, 2 here\)"
    ),
    locked(config, workdir, "aaaa", {"detector": 2}),
  ):
    pass
  # Folders of before do not say what they started from.
  claimed = json.loads((workdir / "config.json").read_text())
  del claimed["sources"]
  (workdir / "config.json").write_text(json.dumps(claimed))
  with locked(config, workdir, "aaaa", {"detector": 2}):
    pass


def test_more_seeds_in_the_same_workdir(config, tmp_path):
  workdir = tmp_path / "run"
  for seeds in ("1,2", "1,2,3", "3"):
    config.seeds = seeds
    with locked(config, workdir, "aaaa"):
      (workdir / "seed-1/detector/checkpoints/latest/2").mkdir(
        parents=True, exist_ok=True
      )
  config.seeds = ""
  with (
    pytest.raises(
      UserError, match=r"another run \(seeds is '3' there, '' here"
    ),
    locked(config, workdir, "aaaa"),
  ):
    pass


def test_one_process_to_a_workdir(config, tmp_path):
  workdir = tmp_path / "run"
  with locked(config, workdir, "aaaa"):
    assert _refused(config, workdir) == (
      f"--workdir {workdir}: another process is at work there; wait for it, or "
      "choose another --workdir"
    )


def test_ctrl_c(config, tmp_path):
  workdir = tmp_path / "run"
  # A job in the background, as this test may be, inherits deafness to SIGINT.
  code = (
    "import runpy, signal;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('splitner_jax.main', run_name='__main__')"
  )
  process = subprocess.Popen(
    [
      *(sys.executable, "-c", code),
      f"--config={runs.ROOT / 'configs/wnut17.py'}",
      f"--config.backbone={config.backbone}",
      f"--config.data.dir={config.data.dir}",
      "--config.detector.features=none",
      "--config.epochs=1000",
      f"--workdir={workdir}",
    ],
    cwd=runs.ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 60
  while not (workdir / "config.json").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGINT
  assert err.splitlines()[-1] == "stopped; the same command goes on from here"
  assert "Traceback" not in err


def test_a_config_json_of_others_is_left_alone(config, tmp_path):
  backbone = tmp_path / "backbone"
  before = (backbone / "config.json").read_text()
  assert "holds another run" in _refused(config, backbone)
  assert (backbone / "config.json").read_text() == before


@pytest.mark.parametrize("text", ["[1]", "{", "\xff"])
def test_a_broken_config_json(text, config, tmp_path):
  path = tmp_path / "run" / "config.json"
  path.parent.mkdir()
  path.write_text(text, encoding="latin-1")
  assert _refused(config, path.parent).startswith(f"{path}: is not a config")


def test_workdir_cannot_be_written(config, tmp_path):
  (tmp_path / "file").write_text("")
  workdir = tmp_path / "file" / "run"
  assert _refused(config, workdir) == (
    f"--workdir {workdir}: cannot be written (Not a directory); choose another"
  )
