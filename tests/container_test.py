"""The Dockerfile and the files for clusters, as far as no cluster is needed."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import venv

import pytest
import yaml

_ROOT = pathlib.Path(__file__).parents[1]
_LAUNCH = _ROOT / "launch"
_DOCKERFILE = _ROOT / "Dockerfile"
_MANIFESTS = sorted((_LAUNCH / "kubernetes").glob("*.yaml"))


def _stages() -> dict[str, list[tuple[str, str]]]:
  """The instructions of each stage, FROM first."""
  text = _DOCKERFILE.read_text()
  text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
  stages: dict[str, list[tuple[str, str]]] = {}
  for line in filter(None, text.splitlines()):
    word, _, rest = line.partition(" ")
    if word == "FROM":
      steps = stages[rest.split(" AS ")[1]] = []
    steps.append((word, rest))
  return stages


def _steps(stage: str) -> list[tuple[str, str]]:
  """The instructions of a stage, after those of the ones it stands on."""
  first, *rest = _stages()[stage]
  base = first[1].split(" AS ")[0]
  return [*(_steps(base) if base in _stages() else [first]), *rest]


def test_dockerfile_is_linted() -> None:
  program = shutil.which("hadolint")
  if program is None:
    pytest.skip("no hadolint: run launch/setup.sh --dev")
  done = subprocess.run(
    [program, "--no-color", _DOCKERFILE], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", ["cpu", "cuda", "tpu"])
def test_images_have_their_own_environment_and_no_root(target: str) -> None:
  steps = _steps(target)
  users = [rest for word, rest in steps if word == "USER"]
  assert users == ["1000"]
  copied = [rest for word, rest in steps if word == "COPY"]
  assert f"--from=build-{target} /opt/venv /opt/venv" in copied
  assert not any("/src" in rest for _, rest in steps)


def test_cpu_is_built_by_default() -> None:
  assert list(_stages())[-1] == "cpu"


def test_what_is_copied_is_sent_to_the_builder() -> None:
  ignore = (_ROOT / ".dockerignore").read_text().splitlines()
  sent = {line[1:] for line in ignore if line.startswith("!")}
  copied = {
    path
    for steps in _stages().values()
    for word, rest in steps
    if word == "COPY" and not rest.startswith("--from")
    for path in rest.split()[:-1]
  }
  assert copied == sent
  assert all((_ROOT / path).exists() for path in copied)


@pytest.mark.slow
def test_steps_of_the_dockerfile(tmp_path: pathlib.Path) -> None:
  """Run in a clean folder, they make a program that trains, says its help."""
  if sys.version_info[:2] != (3, 11):
    pytest.skip("the image has Python 3.11")
  index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
  try:
    urllib.request.urlopen(index, timeout=5).close()
  except OSError as e:
    pytest.skip(f"no package index at {index}: {e}")
  root = tmp_path / "root"
  root.mkdir()

  def inside(text: str) -> str:
    return re.sub(r"(?<![\w.])/(?=(opt|src|app|runs|data)\b)", f"{root}/", text)

  # What the base image has.
  venv.create(root / "python", with_pip=True, symlinks=True)
  environment = {"PATH": f"{root / 'python' / 'bin'}:/usr/bin:/bin"}
  environment |= {k: v for k, v in os.environ.items() if k[:4] == "PIP_"}
  environment["HOME"] = str(root)
  folder = root
  for word, rest in [*_steps("build-cpu"), *_steps("cpu")]:
    if word == "WORKDIR":
      folder = pathlib.Path(inside(rest))
      folder.mkdir(parents=True)
    elif word == "ENV":
      for pair in rest.split():
        name, _, value = pair.partition("=")
        value = inside(value).replace("$PATH", environment["PATH"])
        environment[name] = value
    elif word == "COPY" and not rest.startswith("--from"):
      *sources, target = rest.split()
      for source in sources:
        to = folder / target
        if (_ROOT / source).is_dir():
          shutil.copytree(_ROOT / source, to)
        else:
          shutil.copy(_ROOT / source, to)
    elif word == "RUN" and "useradd" not in rest:
      done = subprocess.run(
        inside(rest),
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
      )
      assert done.returncode == 0, done.stdout + done.stderr
  # It may not lean on what only the builder has.
  shutil.rmtree(root / "src")
  for command, expected in (
    ("splitner --help", "usage: splitner COMMAND"),
    ("splitner check --config=configs/demo.py", "sentences"),
  ):
    done = subprocess.run(
      command.split(),
      cwd=folder,
      env=environment,
      executable=shutil.which("splitner", path=environment["PATH"]),
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
  listed = subprocess.run(
    ["pip", "freeze"],
    env=environment,
    executable=shutil.which("pip", path=environment["PATH"]),
    capture_output=True,
    text=True,
    check=True,
  )
  # With exactly the versions that are promised.
  pins = set((_LAUNCH / "constraints.txt").read_text().splitlines())
  found = set(listed.stdout.splitlines())
  assert {x for x in found if not x.startswith("splitner")} <= pins


@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda p: p.name)
def test_manifests_are_what_kubernetes_knows(path: pathlib.Path) -> None:
  validate = pytest.importorskip("kubernetes_validate")
  documents = list(yaml.safe_load_all(path.read_text()))
  assert [d["kind"] for d in documents] == ["PersistentVolumeClaim", "Job"]
  for document in documents:
    validate.validate(document, validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda p: p.name)
def test_manifests_fit_together(path: pathlib.Path) -> None:
  claim, job = yaml.safe_load_all(path.read_text())
  spec = job["spec"]
  pod = spec["template"]["spec"]
  (container,) = pod["containers"]
  (volume,) = pod["volumes"]
  claimed = volume["persistentVolumeClaim"]["claimName"]
  assert claimed == claim["metadata"]["name"]
  assert container["volumeMounts"][0]["name"] == volume["name"]
  # Kubernetes takes a policy for failed pods with this alone.
  assert pod["restartPolicy"] == "Never"
  gave_way = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
  assert gave_way["containerName"] == container["name"]
  assert gave_way["values"] == [143]
  uid = dict(_steps("cpu"))["USER"]
  assert pod["securityContext"]["runAsUser"] == int(uid)
  target = container["image"].split(":")[1]
  assert target in _stages()
  command, config, workdir = container["args"]
  assert command == "train"
  assert (_ROOT / config.removeprefix("--config=")).is_file()
  assert workdir.startswith("--workdir=/runs/")


class _Slurm:
  """A folder with a training and a scontrol that only play."""

  def __init__(self, folder: pathlib.Path, training: str):
    self.folder = folder
    (folder / "bin").mkdir()
    self._program("python", training)
    self._program("scontrol", f'echo "$*" >>{folder}/calls')
    self.environment = os.environ | {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "VIRTUAL_ENV": str(folder),
      "SLURM_JOB_ID": "7",
    }

  def _program(self, name: str, text: str) -> None:
    path = self.folder / "bin" / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)

  def start(self) -> subprocess.Popen[str]:
    return subprocess.Popen(
      ["bash", _LAUNCH / "slurm.sbatch", "--config=configs/demo.py"],
      env=self.environment,
      cwd=self.folder,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def run(self) -> tuple[int, str, str]:
    process = self.start()
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err

  def calls(self) -> str:
    path = self.folder / "calls"
    return path.read_text() if path.exists() else ""


def test_slurm_ends_as_training_does(tmp_path: pathlib.Path) -> None:
  slurm = _Slurm(tmp_path, 'echo "$@"; exit 3')
  assert slurm.run() == (
    3,
    "-m splitner_jax.main --config=configs/demo.py\n",
    "",
  )
  assert not slurm.calls()


def test_slurm_starts_several_tasks(tmp_path: pathlib.Path) -> None:
  slurm = _Slurm(tmp_path, "exit 0")
  slurm.environment["SLURM_NTASKS"] = "8"
  srun = tmp_path / "bin" / "srun"
  srun.write_text('#!/usr/bin/env bash\necho "$1 ${*: -1}"; exit 143\n')
  srun.chmod(0o755)
  status, out, _ = slurm.run()
  assert (status, out) == (
    143,
    "--kill-on-bad-exit=1 --config=configs/demo.py\n",
  )
  assert slurm.calls() == "requeue 7\n"


def test_slurm_queues_again_what_gave_way(tmp_path: pathlib.Path) -> None:
  waits = "trap 'exit 143' TERM; echo begun; while true; do sleep 0.02; done"
  slurm = _Slurm(tmp_path, waits)
  process = slurm.start()
  assert process.stdout
  assert process.stdout.readline() == "begun\n"
  time.sleep(0.1)  # The script's own trap comes after its start.
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 143
  assert slurm.calls() == "requeue 7\n"


def test_slurm_does_not_queue_for_ever(tmp_path: pathlib.Path) -> None:
  slurm = _Slurm(tmp_path, "exit 143")
  slurm.environment["SLURM_RESTART_COUNT"] = "100"
  status, _, err = slurm.run()
  assert status == 143
  assert "error: queued 100 times already" in err
  assert not slurm.calls()


def test_slurm_scripts_need_slurm_and_a_set_up(tmp_path: pathlib.Path) -> None:
  slurm = _Slurm(tmp_path, "exit 0")
  slurm.environment["VIRTUAL_ENV"] = str(tmp_path / "none")
  assert "run launch/setup.sh --cuda" in slurm.run()[2]
  del slurm.environment["SLURM_JOB_ID"]
  assert "this is for Slurm" in slurm.run()[2]


def _gpu(
  folder: pathlib.Path, nvidia: str, python: str
) -> subprocess.CompletedProcess[str]:
  """Runs launch/gpu.sh where set-up, driver and Python only play."""
  (folder / "launch").mkdir()
  (folder / "bin").mkdir()
  shutil.copy(_LAUNCH / "gpu.sh", folder / "launch")
  for path, text in (
    ("launch/setup.sh", 'echo "setup $*"'),
    ("bin/nvidia-smi", nvidia),
    ("bin/python", python),
  ):
    (folder / path).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / path).chmod(0o755)
  return subprocess.run(
    [folder / "launch" / "gpu.sh", "--config=configs/demo.py"],
    env=os.environ
    | {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "VIRTUAL_ENV": str(folder),
    },
    capture_output=True,
    text=True,
  )


def test_gpu(tmp_path: pathlib.Path) -> None:
  done = _gpu(tmp_path, "exit 0", '[[ $1 == -c ]] || { echo "$@"; exit 143; }')
  assert done.returncode == 143
  assert done.stdout == (
    "setup --cuda\n-m splitner_jax.main --config=configs/demo.py\n"
  )


@pytest.mark.parametrize(
  ("nvidia", "python", "message"),
  [
    ("exit 9", "exit 0", "nvidia-smi finds no GPU here"),
    ("exit 0", "exit 1", "JAX does not find the GPU"),
  ],
)
def test_no_gpu(
  tmp_path: pathlib.Path, nvidia: str, python: str, message: str
) -> None:
  done = _gpu(tmp_path, nvidia, python)
  assert done.returncode == 1
  assert done.stderr.startswith(f"error: {message}")
  assert done.stderr.count("\n") == 1
