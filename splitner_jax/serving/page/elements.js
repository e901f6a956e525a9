// Elements of the page, and ways out of it.

/** An element with properties or attributes, and what is in it. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Gives the user a file. */
export function saved(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Puts text into the clipboard. */
export async function copied(content) {
  try {
    await navigator.clipboard.writeText(content);
  } catch {
    // Without TLS there is no clipboard but this.
    const area = element("textarea", { value: content });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
