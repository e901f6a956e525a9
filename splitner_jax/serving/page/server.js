// What the page asks of the server that it came from.

/** An answer that is none; its message is for the user. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Takes a token for this tab's lifetime. */
export function setToken(token) {
  sessionStorage.setItem("token", token);
}

/**
 * The JSON of an answer; waits while the server is starting or busy.
 *
 * `say` is told of that. With a body it is POST, else GET.
 */
export async function call(path, say, body) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const options =
    body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  for (;;) {
    let response;
    try {
      response = await fetch(path, { headers, ...options });
    } catch {
      throw new Refusal("the server does not answer");
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const detail = answer.detail ?? `status ${response.status}`;
    if (response.status !== 429 && response.status !== 503) {
      throw new Refusal(detail, response.status);
    }
    say(`${detail}; trying again`);
    const seconds = Number(response.headers.get("Retry-After") ?? 1);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
  }
}
