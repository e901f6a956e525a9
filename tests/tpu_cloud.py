"""A gcloud that only plays, for tests of launch/tpu.sh: answers and calls."""

import os
import pathlib
import subprocess
from collections.abc import Sequence

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"
AT = ("--zone=us-west4-a",)
SSH = (
  "--quiet",
  "--ssh-flag=-oConnectTimeout=20",
  "--ssh-flag=-oServerAliveInterval=15",
  "--ssh-flag=-oServerAliveCountMax=4",
)

Call = tuple[str, ...]


def queued(verb: str, *more: str) -> Call:
  return ("compute", "tpus", "queued-resources", verb, "ner", *AT, *more)


def ssh(worker: str, command: str) -> Call:
  head = ("compute", "tpus", "tpu-vm", "ssh", "ner", *AT)
  return (*head, f"--worker={worker}", *SSH, f"--command={command}")


def poll(offset: int) -> Call:
  script = "splitner_jax/launch/vm.sh"
  run = f"{script} poll {offset}"
  none = r"printf \\n@vm\ absent\\n"
  return ssh("0", f"if [ -x {script} ]; then {run}; else {none}; fi")


LOOK = queued("describe", "--format=value(state.state)")
REASON = queued("describe", "--format=value(state.failedData.error.message)")
MACHINE = (
  *("compute", "tpus", "tpu-vm", "describe", "ner", *AT),
  "--format=value(state)",
)
CREATE = queued(
  "create",
  "--node-id=ner",
  "--accelerator-type=v5litepod-8",
  "--runtime-version=v2-alpha-tpuv5-lite",
)
DELETE = queued("delete", "--force", "--quiet")
GONE = [DELETE, LOOK]
COPY = (
  *("compute", "tpus", "tpu-vm", "scp", "ARCHIVE"),
  *("ner:splitner_jax.tar.gz", *AT, "--worker=all", "--quiet"),
)
SETUP = ssh(
  "all",
  "mkdir -p splitner_jax && tar -xzf splitner_jax.tar.gz -C splitner_jax && "
  "splitner_jax/launch/vm.sh setup --data=gs://bucket/data",
)
START = ssh(
  "all",
  "splitner_jax/launch/vm.sh start gs://bucket/run --config=configs/demo.py "
  r"--config.data.dir=my\ data",
)
BEGIN = [poll(0), COPY, SETUP, START]
TRAIN = (
  "train",
  "--config=configs/demo.py",
  "--workdir=gs://bucket/run",
  "--data=gs://bucket/data",
)
THERE = {
  "describe": ["0|ACTIVE"],
  "machine": ["0|READY"],
  "create": ["0|"],
  "delete": ["0|"],
  "copy": ["0|"],
  "setup": ["0|"],
  "start": ["0|"],
}
NONE = "1|ERROR: (gcloud) NOT_FOUND: no such resource"
HELD = "launch/tpu.sh delete --name=ner --zone=us-west4-a"


class Cloud:
  """A folder of answers, and of the calls that were made."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    (folder / "bin").mkdir()
    fake = pathlib.Path(__file__).parent / "fake_gcloud.sh"
    (folder / "bin" / "gcloud").symlink_to(fake)
    self.environment = os.environ | {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "FAKE": str(folder),
      "SPLITNER_LAUNCH_SECOND": "0.00005",
    }

  def answers(self, **kinds: Sequence[str]) -> None:
    """What each kind of call is answered, after `THERE`; see the fake."""
    for kind, lines in (THERE | kinds).items():
      (self.folder / kind).write_text("".join(f"{x}\n" for x in lines))

  def start(self, command: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
      ["bash", LAUNCH / "tpu.sh", command, "--name=ner", *AT, *options],
      env=self.environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def run(self, command: str, *options: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of launch/tpu.sh."""
    process = self.start(command, *options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err

  def calls(self) -> list[Call]:
    path = self.folder / "calls"
    if not path.exists():
      return []
    lines = path.read_text().split("\x1f\n")[:-1]
    return [
      tuple(
        "ARCHIVE" if word.endswith("/splitner_jax.tar.gz") else word
        for word in line.split("\x1f")
      )
      for line in lines
    ]

  def train(self, *options: str) -> tuple[int, str, str]:
    """`run` of a training that has an option of its own."""
    return self.run(*TRAIN, *options, "--", "--config.data.dir=my data")
