import { copied, element, saved } from "./elements.js";
import { call, Refusal, setToken } from "./server.js";
import * as spans from "./spans.js";

const $ = (id) => document.getElementById(id);
const text = $("text");

// Milliseconds in which letters are typed together.
const PAUSE = 80;
const NOTHING = "no entity";

const state = {
  model: null,
  shown: "", // The text that everything below belongs to.
  answered: "", // The text of the last answer.
  found: [], // All that the model finds, whatever its score.
  words: [],
  corrections: [], // Spans with a label, empty for no entity.
  before: [], // Earlier corrections, for undo.
  least: null, // The user's least score; null: the model's.
  hidden: new Set(), // Types.
  kept: [], // Lines of texts that are done.
  current: null, // The entity that is looked at.
};

// -- The model's answers ------------------------------------------------------

let running = null;

/** Asks about the text until the answer is about what it has become. */
function ask() {
  running ??= askAll().finally(() => {
    running = null;
  });
  return running;
}

async function askAll() {
  while (state.answered !== text.value) {
    await new Promise((done) => setTimeout(done, PAUSE));
    const asked = text.value;
    const start = performance.now();
    try {
      const answer = asked.trim()
        ? await call("predict", say, { text: asked, threshold: 0, details: true })
        : { entities: [], sentences: [] };
      take(asked, answer);
      const milliseconds = Math.round(performance.now() - start);
      say(`${count(visible().length)} in ${milliseconds} ms`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(`Not tagged: ${error.message}`);
      return;
    }
  }
}

function take(asked, answer) {
  const { found, words } = spans.read(answer, asked);
  const move = spans.mover(asked, text.value);
  state.answered = asked;
  state.found = found.map(move).filter(Boolean);
  state.words = words.map(move).filter(Boolean);
  if (asked === text.value) {
    // A word may have grown since it was corrected.
    state.corrections = state.corrections.flatMap((correction) => {
      const whole = spans.wholeWords(correction, words);
      return typeof whole === "string" ? [] : [{ ...correction, ...whole }];
    });
  }
  draw();
}

// -- What is shown ------------------------------------------------------------

function accepted() {
  const { least, model } = state;
  const good = state.found.filter(
    (f) => f.score >= (least ?? model.thresholds[f.label]),
  );
  return spans.corrected(good, state.corrections);
}

const visible = () => accepted().filter((e) => !state.hidden.has(e.label));
const count = (n) => (n === 1 ? "1 entity" : `${n} entities`);
const percent = (score) => `${(100 * score).toFixed(1)} %`;
const named = (label) => label || NOTHING;

function say(line) {
  $("status").textContent = line;
}

/** An element in the colour of a type, far from its neighbours'. */
function coloured(name, label, attributes, ...children) {
  const made = element(name, attributes, ...children);
  const hue = (210 + 137.5 * state.model.labels.indexOf(label)) % 360;
  made.style.setProperty("--hue", Math.round(hue));
  return made;
}

function draw() {
  const entities = visible();
  drawMarks(entities);
  drawTable(entities);
  const has = entities.length > 0;
  $("copy-json").disabled = $("copy-csv").disabled = !has;
  $("undo").disabled = !state.before.length;
  const texts = state.kept.length + (state.words.length > 0);
  $("keep").disabled = !state.words.length;
  $("download").disabled = !texts;
  $("download").textContent =
    texts > 1 ? `Download ${texts} texts` : "Download";
  look(entityAt(text.selectionStart, text.selectionEnd));
}

function drawMarks(entities) {
  const parts = [];
  let end = 0;
  for (const entity of entities) {
    const written = state.shown.slice(entity.start, entity.end);
    const mark = coloured("mark", entity.label, {}, written);
    mark.dataset.label = entity.label;
    mark.dataset.start = entity.start;
    mark.classList.toggle("corrected", entity.score === undefined);
    parts.push(state.shown.slice(end, entity.start), mark);
    end = entity.end;
  }
  // The last line has its height even where it is empty.
  $("marks").replaceChildren(...parts, state.shown.slice(end), "\u200b");
}

function drawTable(entities) {
  const rows = entities.map((entity) => {
    const written = state.shown.slice(entity.start, entity.end);
    const choice = element("select", {
      "aria-label": `Type of ${written}`,
      onchange: () => correct(entity, choice.value),
    });
    for (const label of [...state.model.labels, ""]) {
      const selected = label === entity.label;
      choice.append(element("option", { value: label, selected }, named(label)));
    }
    const others = (entity.types ?? []).map(
      (type) => `${named(type.label)} ${percent(type.score)}`,
    );
    const numbers = [entity.score, entity.span_score].map((score) =>
      element(
        "td",
        { className: "number" },
        score === undefined ? "" : percent(score),
      ),
    );
    if (entity.score === undefined) numbers[0].textContent = "corrected";
    const remove = element(
      "button",
      {
        "aria-label": `${written} is no entity`,
        onclick: () => correct(entity, ""),
      },
      "Remove",
    );
    const name = coloured("span", entity.label, { className: "type" }, written);
    return element(
      "tr",
      { onmouseenter: () => look(entity), onmouseleave: () => look(null) },
      element("th", { scope: "row" }, name),
      element("td", {}, choice),
      ...numbers,
      element("td", {}, others.join(", ")),
      element("td", {}, remove),
    );
  });
  $("entities").replaceChildren(...rows);
}

function entityAt(start, end = start) {
  return visible().find((e) => e.start <= start && end <= e.end) ?? null;
}

/** Marks an entity, and says what both steps say of it. */
function look(entity) {
  state.current = entity;
  for (const mark of $("marks").querySelectorAll("mark")) {
    const same = entity && Number(mark.dataset.start) === entity.start;
    mark.classList.toggle("current", Boolean(same));
    if (same) $("tip").textContent = summary(entity);
    if (same) place(mark);
  }
  $("tip").hidden = !entity;
}

function summary(entity) {
  if (entity.score === undefined) return `${entity.label}: corrected by hand`;
  const lines = [`${entity.label}: ${percent(entity.score)}`];
  if (entity.types) {
    lines.push(`an entity: ${percent(entity.span_score)}`);
    lines.push("and if it is one:");
    for (const type of entity.types) {
      lines.push(`  ${named(type.label)} ${percent(type.score)}`);
    }
  }
  return lines.join("\n");
}

function place(mark) {
  const box = mark.getClientRects()[0];
  $("tip").style.left = `${box.left + scrollX}px`;
  $("tip").style.top = `${box.bottom + scrollY + 4}px`;
}

// -- Corrections --------------------------------------------------------------

/** What the user means: the selection, or the entity around the cursor. */
function chosen() {
  const { selectionStart: start, selectionEnd: end } = text;
  return start < end ? { start, end } : entityAt(start);
}

async function correctChosen(label) {
  const before = state.shown;
  const place = chosen();
  if (!place) {
    say("Select words in the text first");
    return;
  }
  await ask();
  if (before !== state.shown || state.answered !== state.shown) return;
  correct(place, label);
}

function correct(place, label) {
  const span = spans.wholeWords(place, state.words);
  if (typeof span === "string") {
    say(`Not corrected: ${span}`);
    return;
  }
  const others = state.corrections.filter((c) => !spans.overlap(c, span));
  state.before.push(state.corrections);
  state.corrections = [...others, { ...span, label }];
  draw();
  const written = state.shown.slice(span.start, span.end);
  say(`${written}: ${named(label)}`);
}

function undo() {
  state.corrections = state.before.pop() ?? [];
  draw();
  say("Undone");
}

function current() {
  return spans.lines(state.shown, state.words, accepted()).join("");
}

async function keep() {
  await ask();
  if (state.answered !== state.shown) return;
  state.kept.push(current());
  text.value = "";
  state.corrections = [];
  changed();
  state.before = [];
  say(`Kept: ${state.kept.length}`);
  text.focus();
}

async function download() {
  await ask();
  if (state.answered !== state.shown) return;
  const parts = [...state.kept, ...(state.words.length ? [current()] : [])];
  saved("corrected.jsonl", parts, "application/jsonl");
}

async function copy(content) {
  await copied(content);
  say("Copied");
}

// -- What the user does -------------------------------------------------------

function changed() {
  const move = spans.mover(state.shown, text.value);
  const moved = (list) => list.map(move).filter(Boolean);
  state.found = moved(state.found);
  state.words = moved(state.words);
  state.corrections = moved(state.corrections);
  state.before = state.before.map(moved);
  state.shown = text.value;
  draw();
  ask();
}

function underPointer(event) {
  const mark = document
    .elementsFromPoint(event.clientX, event.clientY)
    .find((e) => e.localName === "mark");
  return mark ? entityAt(Number(mark.dataset.start)) : null;
}

async function drop(event) {
  const [file] = event.dataTransfer.files;
  if (!file) return;
  event.preventDefault();
  text.value = await file.text();
  changed();
}

function drawControls() {
  const { model } = state;
  $("model").textContent = `${model.system}: ${model.labels.join(", ")}`;
  for (const label of [...model.labels, ""]) {
    $("assign").append(
      coloured(
        "button",
        label,
        { className: label ? "type" : "", value: label },
        named(label),
      ),
    );
  }
  for (const label of model.labels) {
    const box = element("input", { type: "checkbox", checked: true });
    box.onchange = () => {
      state.hidden[box.checked ? "delete" : "add"](label);
      draw();
    };
    const name = coloured("span", label, { className: "type" }, label);
    $("types").append(element("label", {}, box, " ", name));
  }
  setLeast(null);
}

function setLeast(score) {
  state.least = score;
  const chosenByModel = Object.values(state.model.thresholds);
  $("threshold").value = score ?? Math.min(...chosenByModel);
  $("least").textContent = score === null ? "the model's" : score.toFixed(2);
  $("own").disabled = score === null;
  draw();
}

function listen() {
  text.addEventListener("input", changed);
  text.addEventListener("drop", drop);
  text.addEventListener("mousemove", (event) => look(underPointer(event)));
  text.addEventListener("mouseleave", () => look(null));
  document.addEventListener("selectionchange", () => {
    if (document.activeElement === text) look(chosen()?.label ? chosen() : null);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      $("assign").firstElementChild.focus();
    }
  });
  $("assign").addEventListener("click", async (event) => {
    if (event.target.localName !== "button") return;
    await correctChosen(event.target.value);
    text.focus();
  });
  $("assign").addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const buttons = [...$("assign").children];
    const place = buttons.indexOf(event.target);
    if (event.key in steps) {
      event.preventDefault();
      buttons.at((place + steps[event.key]) % buttons.length).focus();
    } else if (event.key === "Escape") {
      text.focus();
    }
  });
  $("threshold").oninput = () => setLeast(Number($("threshold").value));
  $("own").onclick = () => setLeast(null);
  $("undo").onclick = undo;
  $("keep").onclick = keep;
  $("download").onclick = download;
  $("copy-json").onclick = () =>
    copy(JSON.stringify(spans.described(state.shown, visible()), null, 2));
  $("copy-csv").onclick = () =>
    copy(spans.csv(spans.described(state.shown, visible())));
}

async function start() {
  try {
    state.model = await call("model", say);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    $("login").hidden = error.status !== 401;
    say(error.message);
    return;
  }
  drawControls();
  listen();
  changed();
}

$("login").onsubmit = (event) => {
  event.preventDefault();
  setToken($("token").value);
  location.reload();
};

start();
