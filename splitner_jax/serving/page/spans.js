// Spans of a text, {start, end, ...}: pure functions.
//
// All offsets are in UTF-16 units, as the browser counts; the server counts
// code points.

/** The spans of an answer, and its words, in UTF-16 units. */
export function read(answer, text) {
  const units = [0];
  for (const character of text) {
    units.push(units[units.length - 1] + character.length);
  }
  const words = answer.sentences.flatMap((sentence, number) =>
    sentence.map(([start, end]) => ({
      start: units[start],
      end: units[end],
      sentence: number,
    })),
  );
  const found = answer.entities.map((entity) => ({
    ...entity,
    start: units[entity.start],
    end: units[entity.end],
  }));
  return { found, words };
}

/** What an edit of the text makes of a span: moved, or null if it was cut. */
export function mover(before, after) {
  const most = Math.min(before.length, after.length);
  let head = 0;
  while (head < most && before[head] === after[head]) head++;
  let tail = 0;
  while (
    tail < most - head &&
    before[before.length - 1 - tail] === after[after.length - 1 - tail]
  ) {
    tail++;
  }
  const shift = after.length - before.length;
  return (span) => {
    if (span.end <= head) return span;
    if (span.start < before.length - tail) return null;
    return { ...span, start: span.start + shift, end: span.end + shift };
  };
}

export function overlap(a, b) {
  return a.start < b.end && b.start < a.end;
}

/**
 * The whole words that a span touches.
 *
 * Returns {start, end}, or a string that says why there are none.
 */
export function wholeWords(span, words) {
  const touched = words.filter((word) => overlap(word, span));
  if (!touched.length) return "there is no word in it";
  const [first, last] = [touched[0], touched[touched.length - 1]];
  if (first.sentence !== last.sentence) {
    return "an entity cannot be in two sentences";
  }
  return { start: first.start, end: last.end };
}

/** What was found, with what was corrected instead; sorted. */
export function corrected(found, corrections) {
  const kept = found.filter((f) => !corrections.some((c) => overlap(f, c)));
  const given = corrections.filter((c) => c.label);
  return [...kept, ...given].sort((a, b) => a.start - b.start);
}

/** Lines of JSON, one for each sentence, as `splitner train` reads them. */
export function lines(text, words, entities) {
  const sentences = new Map();
  for (const word of words) {
    if (!sentences.has(word.sentence)) sentences.set(word.sentence, []);
    sentences.get(word.sentence).push(word);
  }
  return [...sentences.values()].map((sentence) => {
    const spans = [];
    for (const entity of entities) {
      const inside = sentence.flatMap((w, i) => (overlap(w, entity) ? [i] : []));
      if (inside.length) {
        const [start, end] = [inside[0], inside[inside.length - 1] + 1];
        spans.push({ start, end, label: entity.label });
      }
    }
    const tokens = sentence.map((w) =>
      text.slice(w.start, w.end).toWellFormed(),
    );
    return JSON.stringify({ tokens, entities: spans }) + "\n";
  });
}

/** Entities as the server gives them, offsets in code points. */
export function described(text, entities) {
  return entities.map((entity) => ({
    text: text.slice(entity.start, entity.end),
    label: entity.label,
    start: [...text.slice(0, entity.start)].length,
    end: [...text.slice(0, entity.end)].length,
    ...(entity.score === undefined ? {} : { score: entity.score }),
  }));
}

/** A table of comma-separated values (RFC 4180). */
export function csv(rows) {
  const columns = ["text", "label", "start", "end", "score"];
  const quoted = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const body = rows.map((row) => columns.map((c) => quoted(row[c])).join(","));
  return [columns.join(","), ...body].join("\r\n") + "\r\n";
}
