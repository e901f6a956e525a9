"""Files that are written, and into what."""

import os
import pathlib
import subprocess
import sys

import pytest

from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import (
  atomic_folder,
  atomic_write,
  read_lines,
)


@pytest.mark.parametrize(
  "name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
)
@pytest.mark.parametrize("through_link", [False, True])
def test_a_descriptor_is_written_into(
  tmp_path: pathlib.Path, name: str, through_link: bool
) -> None:
  if through_link:
    (tmp_path / "link").symlink_to(name)
    name = str(tmp_path / "link")
  log = tmp_path / "log"
  log.write_text("before\n")
  code = f"""
import sys
from splitner_jax.runtime.files import atomic_write
print("first", flush=True)
atomic_write({name!r}, ["a\\n", "b\\n"])
print("last")
"""
  with log.open("a") as file:
    subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
  assert log.read_text() == "before\nfirst\na\nb\nlast\n"


def test_a_descriptor_of_another_process(tmp_path: pathlib.Path) -> None:
  log = tmp_path / "log"
  log.write_text("before\n")
  with log.open("a") as file:
    code = (
      "from splitner_jax.runtime.files import atomic_write;"
      f"atomic_write('/proc/{os.getpid()}/fd/{file.fileno()}', ['a'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
  assert log.read_text() == "before\na"
  assert [*tmp_path.iterdir()] == [log]


def test_a_descriptor_that_is_not_open() -> None:
  with pytest.raises(UserError, match=r"^/dev/fd/999: cannot be written \(Bad"):
    atomic_write("/dev/fd/999", ["a"])


def test_links_that_lead_in_a_circle(tmp_path: pathlib.Path) -> None:
  loop = tmp_path / "loop"
  loop.symlink_to("loop")
  for path in (loop, loop / "file"):
    with pytest.raises(UserError, match=rf"^{path}: cannot be written \(Too m"):
      atomic_write(path, ["a"])
  assert [*tmp_path.iterdir()] == [loop]


def test_links_in_a_row(tmp_path: pathlib.Path) -> None:
  (tmp_path / "folder").mkdir()
  (tmp_path / "here").symlink_to("folder")
  (tmp_path / "folder/one").symlink_to("../two")
  (tmp_path / "two").symlink_to("here/file")
  atomic_write(tmp_path / "here/one", ["a", b"\xff"])
  assert (tmp_path / "folder/file").read_bytes() == b"a\xff"
  assert (tmp_path / "folder/one").is_symlink()


def test_a_folder_is_whole_or_not_there(tmp_path: pathlib.Path) -> None:
  folder = tmp_path / "a" / "folder"
  with atomic_folder(folder) as unfinished:
    (unfinished / "file").write_text("a")
    assert not folder.exists()
  assert [*folder.parent.iterdir()] == [folder]
  assert [*folder.iterdir()] == [folder / "file"]
  with (
    pytest.raises(UserError, match=rf"^{folder}: cannot be written \(Dir"),
    atomic_folder(folder) as unfinished,
  ):
    (unfinished / "file").write_text("b")
  with pytest.raises(KeyError), atomic_folder(tmp_path / "b") as unfinished:
    raise KeyError
  assert [*tmp_path.iterdir()] == [folder.parent]
  assert (folder / "file").read_text() == "a"


def test_a_process_that_leaves_removes_its_folder(
  tmp_path: pathlib.Path,
) -> None:
  code = f"""
import os, signal
from splitner_jax.runtime import signals
from splitner_jax.runtime.files import atomic_folder
signals.exit_at_once()
with atomic_folder({str(tmp_path / "folder")!r}) as unfinished:
  (unfinished / "file").write_text("a")
  print(*os.listdir(unfinished), flush=True)
  os.kill(os.getpid(), signal.SIGTERM)
  signal.pause()
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stdout, done.stderr) == (143, "file\n", "")
  assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(
  tmp_path: pathlib.Path, mode: int
) -> None:
  (path := tmp_path / "file").write_text("before")
  path.chmod(mode)
  atomic_write(path, ["after"])
  assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", mode)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"a\n\xff", ":2: not UTF-8; convert the file to UTF-8"),
    (b"a\nb\0", ":2: holds a NUL; is it UTF-16[?] convert the file to UTF-8"),
    ("a".encode("utf-16"), ":1: not UTF-8, but UTF-16 by its first bytes; con"),
  ],
)
def test_what_is_no_text(
  tmp_path: pathlib.Path, data: bytes, reason: str
) -> None:
  (path := tmp_path / "file").write_bytes(data)
  with pytest.raises(UserError, match=f"^{path}{reason}"):
    read_lines(path)
