"""The page of the server, in a real browser without a screen."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from splitner_jax.data import jsonl
from tests import runs, serving, tiny

pytest.importorskip("selenium", reason="no selenium: launch/setup.sh --dev")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

TEXT = "Ana met Bo Li in ROME. It was \U0001f600 warm, said Eve."


@dataclasses.dataclass
class Page:
  """What the tests do with the page.

  Attributes:
    driver: the browser.
    folder: gets what is downloaded.
  """

  driver: webdriver.Chrome
  folder: pathlib.Path

  def find(self, selector: str) -> WebElement:
    return self.driver.find_element(By.CSS_SELECTOR, selector)

  def all(self, selector: str) -> list[WebElement]:
    return self.driver.find_elements(By.CSS_SELECTOR, selector)

  def run(self, script: str, *arguments: Any) -> Any:
    return self.driver.execute_script(script, *arguments)

  def write(self, keys: str) -> None:
    self.find("#text").send_keys(keys)

  def paste(self, text: str) -> None:
    """As from the clipboard; the driver types no emoji."""
    self.find("#text").click()
    self.driver.execute_cdp_cmd("Input.insertText", {"text": text})

  def select(self, part: str) -> None:
    self.run(
      "const t = document.getElementById('text'); t.focus();"
      "const i = t.value.indexOf(arguments[0]);"
      "t.setSelectionRange(i, i + arguments[0].length);",
      part,
    )

  def marks(self) -> list[tuple[str, str]]:
    """Text and type of what is marked, as one sees it."""
    found = self.run(
      "return [...document.querySelectorAll('mark')]"
      ".map((m) => [m.textContent, m.dataset.label])"
    )
    return [(text, label) for text, label in found]

  def wait(self, *expected: tuple[str, str]) -> None:
    """Until just these are marked."""
    wait_until(lambda: self.marks(), list(expected))

  def status(self) -> str:
    return self.find("#status").text

  def button(self, name: str) -> WebElement:
    return next(b for b in self.all("button") if b.text == name)

  def hosts(self) -> set[str]:
    """Where anything was asked for."""
    events = [
      json.loads(entry["message"])["message"]
      for entry in self.driver.get_log("performance")
    ]
    urls = [
      event["params"]["request"]["url"]
      for event in events
      if event["method"] == "Network.requestWillBeSent"
    ]
    return {url.split("/")[2] for url in urls if url.startswith("http")}


def wait_until(found: Any, expected: Any) -> None:
  deadline = time.monotonic() + 10
  while found() != expected:
    assert time.monotonic() < deadline, f"{found()}, not {expected}"
    time.sleep(0.02)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
  program, driver = shutil.which("chromium"), shutil.which("chromedriver")
  if not program or not driver:
    pytest.skip("no Chromium with its driver: launch/setup.sh --browser")
  folder = tmp_path_factory.mktemp("browser")
  options = webdriver.ChromeOptions()
  options.binary_location = program
  for argument in (
    "headless",
    "no-sandbox",  # Which it needs to run as root, in containers.
    "disable-gpu",
    "disable-dev-shm-usage",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "no-first-run",
    "window-size=1000,1400",
    f"user-data-dir={folder / 'profile'}",
  ):
    options.add_argument(f"--{argument}")
  options.add_experimental_option(
    "prefs", {"download.default_directory": str(folder)}
  )
  options.set_capability(
    "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
  )
  with webdriver.Chrome(options, webdriver.ChromeService(driver)) as found:
    yield Page(found, folder)


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
  """A page of a server whose model takes words in capitals for mentions."""
  with opened(browser):
    yield browser


@contextlib.contextmanager
def opened(browser: Page, **options: Any) -> Iterator[int]:
  """The page of a server with such options, and its port."""
  ner, _ = serving.gated()
  with serving.running(ner, **options) as served:
    serving.wait_for(lambda: served.batcher.is_ready)
    browser.hosts()  # Forgets what there was.
    browser.driver.get(f"http://127.0.0.1:{served.port}/")
    yield served.port
    assert browser.hosts() == {f"127.0.0.1:{served.port}"}
    said = browser.driver.get_log("browser")
    assert not [s for s in said if " 401 " not in s["message"]]
    # Its connections end with it, which the server would wait for.
    browser.driver.get("about:blank")


FOUND = [("Ana", "name"), ("Bo Li", "name"), ("ROME", "WORLD")]
REST = [("It", "name"), ("Eve", "name")]


@pytest.mark.slow
def test_type_correct_download_and_train(page: Page, tmp_path: pathlib.Path):
  page.write("Ana met Bo Li in ROME.")
  page.wait(*FOUND)
  assert page.status().startswith("3 entities in ")
  page.paste(" It was \U0001f600 warm, said Eve.")
  page.wait(*FOUND, *REST)
  # By keyboard: the cursor is in an entity, the types are a few keys away.
  page.select("RO")
  page.write(Keys.CONTROL + Keys.ENTER)
  focused = page.driver.switch_to.active_element
  assert focused.text == "name"
  focused.send_keys(Keys.ENTER)
  page.wait(*FOUND[:2], ("ROME", "name"), *REST)
  assert page.driver.switch_to.active_element == page.find("#text")
  # By mouse: whole words, whatever was selected.
  page.select("ar")
  page.button("WORLD").click()
  corrected = [*FOUND[:2], ("ROME", "name"), ("It", "name"), ("warm", "WORLD")]
  page.wait(*corrected, ("Eve", "name"))
  page.select("It")
  page.button("no entity").click()
  del corrected[3]
  page.wait(*corrected, ("Eve", "name"))
  page.button("Keep, and begin the next text").click()
  page.wait()
  page.write("Bo is in Oslo.")
  page.wait(("Bo", "name"), ("Oslo", "name"))
  page.button("Download 2 texts").click()
  path = page.folder / "corrected.jsonl"
  serving.wait_for(path.exists)
  sentences = jsonl.read(path)
  assert [s.words for s in sentences] == [
    ("Ana", "met", "Bo", "Li", "in", "ROME", "."),
    ("It", "was", "\U0001f600", "warm", ",", "said", "Eve", "."),
    ("Bo", "is", "in", "Oslo", "."),
  ]
  assert [s.spans for s in sentences] == [
    ((0, 1, "name"), (2, 4, "name"), (5, 6, "name")),
    ((3, 4, "WORLD"), (6, 7, "name")),
    ((0, 1, "name"), (3, 4, "name")),
  ]
  # The splits are files of their own.
  dev = shutil.copy(path, tmp_path / "dev.jsonl")
  tiny.make_backbone(tmp_path / "backbone")
  finished = subprocess.run(
    [
      *(sys.executable, "-m", "splitner_jax.main"),
      *(f"--train={path}", f"--dev={dev}", f"--workdir={tmp_path / 'run'}"),
      f"--config.backbone={tmp_path / 'backbone'}",
      *("--config.epochs=1", "--config.max_length=200"),
    ],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  assert (tmp_path / "run" / "model").is_dir()


def test_the_scores_of_both_steps(page: Page):
  page.write("Ana met Bo Li")
  page.wait(*FOUND[:2])
  box = page.run(
    "const b = document.querySelectorAll('mark')[1].getBoundingClientRect();"
    "return [b.x + b.width / 2, b.y + b.height / 2]"
  )
  mouse = {"type": "mouseMoved", "x": box[0], "y": box[1]}
  page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", mouse)
  wait_until(
    lambda: page.find("#tip").text.split("\n"),
    [
      "name: 60.0 %",
      "an entity: 100.0 %",
      "and if it is one:",
      " name 60.0 %",
      " other 25.0 %",
    ],
  )
  mouse |= {"x": 1, "y": 1}
  page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", mouse)
  wait_until(page.find("#tip").is_displayed, False)
  # The same in the table, for those who do not see.
  cells = [c.text for c in page.all("tbody tr:nth-child(2) > *")]
  assert cells[0] == "Bo Li"
  assert cells[2:5] == ["60.0 %", "100.0 %", "name 60.0 %, other 25.0 %"]


def test_threshold_and_types(page: Page):
  page.paste(TEXT)
  page.wait(*FOUND, *REST)
  slider = page.find("#threshold")
  set_value = (
    "arguments[0].value = arguments[1];"
    "arguments[0].dispatchEvent(new Event('input'))"
  )
  page.run(set_value, slider, "0.55")
  page.wait(("Bo Li", "name"))
  assert page.find("#least").text == "0.55"
  page.button("As the model chose").click()
  page.wait(*FOUND, *REST)
  page.find("#types input").click()
  page.wait(("ROME", "WORLD"))


def test_copies(page: Page):
  page.driver.execute_cdp_cmd(
    "Browser.grantPermissions",
    {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
  )
  page.paste('\U0001f600 Ana "x" ROME')
  page.wait(("Ana", "name"), ("ROME", "WORLD"))
  read = "navigator.clipboard.readText().then(arguments[0])"
  page.button("Copy as JSON").click()
  wait_until(page.status, "Copied")
  rows = json.loads(page.driver.execute_async_script(read))
  # Code points, as the server has them.
  assert rows[0] == {
    **{"text": "Ana", "label": "name", "start": 2, "end": 5},
    "score": rows[0]["score"],
  }
  page.button("Copy as CSV").click()
  wait_until(
    lambda: page.driver.execute_async_script(read).splitlines(),
    [
      "text,label,start,end,score",
      '"Ana","name","2","5","0.5"',
      '"ROME","WORLD","10","14","0.5"',
    ],
  )


def test_corrections_stay_while_the_text_changes(page: Page):
  page.write("Ana met bo.")
  page.wait(FOUND[0])
  page.select("bo")
  page.button("WORLD").click()
  page.wait(FOUND[0], ("bo", "WORLD"))
  page.write(Keys.HOME + "so ")
  page.wait(FOUND[0], ("bo", "WORLD"))
  page.select("bo")
  page.write(Keys.ARROW_RIGHT + "b")
  page.wait(FOUND[0], ("bob", "WORLD"))
  page.button("Undo").click()
  page.wait(FOUND[0])
  # What was cut in two is none any more.
  page.select("bob")
  page.button("WORLD").click()
  page.wait(FOUND[0], ("bob", "WORLD"))
  page.select("ob")
  page.write(Keys.BACKSPACE)
  page.wait(FOUND[0])


def test_what_cannot_be_corrected(page: Page):
  page.paste(TEXT)
  page.wait(*FOUND, *REST)
  page.select("ROME. It")
  page.button("name").click()
  wait_until(page.status, "Not corrected: an entity cannot be in two sentences")
  page.select(" \U0001f600"[:1])
  page.write(Keys.END)
  page.button("name").click()
  wait_until(page.status, "Select words in the text first")
  page.wait(*FOUND, *REST)


def test_markup_is_text(page: Page):
  page.paste("<img src=x onerror=alert(1)> Ana <b>")
  page.wait(FOUND[0])
  assert not page.all("main img, main b")
  # Half a character, as a script may put it there.
  page.run(
    "const t = document.getElementById('text'); t.value = 'Bo \\ud83d Li';"
    "t.dispatchEvent(new Event('input'))"
  )
  page.wait(("Bo", "name"), ("Li", "name"))


def test_token(browser: Page):
  with opened(browser, token="secret"):
    field = browser.find("#token")
    wait_until(field.is_displayed, True)
    field.send_keys("secret" + Keys.ENTER)
    wait_until(lambda: browser.find("#model").text, "SplitNER: name, WORLD")
    browser.write("Ana")
    browser.wait(FOUND[0])
    browser.run("sessionStorage.clear()")


def test_refusals_are_said(browser: Page):
  with opened(browser, max_bytes=200):
    browser.paste("Ana " * 100)
    wait_until(browser.status, "Not tagged: more than 200 bytes")
    browser.run("document.getElementById('text').value = ''")
    browser.write("Bo")
    browser.wait(("Bo", "name"))
    said = browser.driver.get_log("browser")
    assert [" 413 " in s["message"] for s in said] == [True]


_CONTRAST = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = numbers(colour).map((c) =>
    c <= 10.31 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (e) => {
  const own = getComputedStyle(e).backgroundColor;
  return numbers(own)[3] === 0 ? ground(e.parentElement) : own;
};
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
return [...document.querySelectorAll(
  "p, h1, h2, th, td, legend, output, .type, button:enabled, select, #text"
)].map((e) => [
  e.outerHTML.slice(0, 60),
  ratio(light(getComputedStyle(e).color), light(ground(e))),
]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_by_all(page: Page, scheme: str):
  page.driver.execute_cdp_cmd(
    "Emulation.setEmulatedMedia",
    {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
  )
  page.paste(TEXT)
  page.wait(*FOUND, *REST)
  # What a screen reader says of all that can be used.
  for each in page.all("input, button, select, textarea"):
    if each.is_displayed():
      assert each.accessible_name, each.get_attribute("outerHTML")
  ratios = dict(page.run(_CONTRAST))
  assert ratios
  # Of the guidelines' level AA.
  assert not {k: v for k, v in ratios.items() if v < 4.5}
  ground = page.run("return getComputedStyle(document.body).backgroundColor")
  assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
