// The live stream: server-sent events read with fetch, because EventSource cannot carry a bearer token. Cut
// connections are taken up again where they ended.

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/**
 * The server sends at least a comment every 15 s; longer silence is a connection that died without a word.
 */
const SILENCE_MS = 45_000;

/** The longest event that is kept while its end has not come; a call is about 1 kB. */
const LONGEST_EVENT_CHARS = 1_000_000;

export class Live {
  /** `told`: what to call with each `{type, data}`. `changed`: with true when connected, false when not. */
  constructor(api, { told, changed }) {
    this.api = api;
    this.told = told;
    this.changed = changed;
    this.lastId = null;
    this.connection = null;
  }

  start() {
    if (this.connection) return;
    this.connection = new AbortController();
    this.run(this.connection.signal);
  }

  stop() {
    this.connection?.abort();
    this.connection = null;
  }

  async run(signal) {
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        await this.follow(signal, () => (pauseMs = FIRST_PAUSE_MS));
      } catch {
        // Whatever ended it, the answer is the same: try again. A session that ended shows in the next
        // question.
      }
      if (signal.aborted) return;
      this.changed(false);
      // The jitter keeps all open pages from coming back in the same instant after a restart.
      await pause(pauseMs * (0.5 + Math.random() / 2), signal);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** One connection, until it ends. */
  async follow(stopped, connected) {
    const silence = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    heard();
    try {
      const body = await this.api.events(this.lastId, AbortSignal.any([stopped, silence.signal]));
      for await (const event of eventsOf(body, heard)) {
        if (event.type === "hello") {
          connected();
          this.changed(true);
          this.lastId ??= event.data.last_id;
        }
        if (event.id !== null) this.lastId = event.id;
        this.told(event);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * The events of a stream as `{type, id, data}`, their data parsed. `heard` is called for every piece of it.
 */
export async function* eventsOf(stream, heard = () => {}) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      if (rest.length > LONGEST_EVENT_CHARS) throw new Error("an event does not end");
      yield* blocks.map(parseEvent).filter((event) => event !== null);
    }
  } finally {
    // Whoever leaves the loop hangs up.
    reader.cancel().catch(() => {});
  }
}

/** One block of lines; null for a comment. */
export function parseEvent(block) {
  const fields = { event: "message", id: null, data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
    if (field === "data") fields.data.push(value);
    else if (field === "event" || field === "id") fields[field] = value;
  }
  if (fields.data.length === 0) return null;
  return { type: fields.event, id: fields.id, data: JSON.parse(fields.data.join("\n")) };
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
