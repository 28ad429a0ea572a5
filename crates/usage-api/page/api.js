// Questions to the usage API: same origin with the session's cookie, or a bearer token where one is given.

/** The server answered with an error, or not at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export class Api {
  /** `base` ends in a slash. */
  constructor(base, token) {
    this.base = base;
    this.token = token;
    /** An employee reads only himself. */
    this.scope = "";
  }

  /** What everybody may ask in the same words: `me`, `prices`. */
  get(path, question, signal) {
    return this.json(this.address(path, question), signal);
  }

  /** What an employee asks about himself, and the others about the organisation. */
  usage(path, question, signal) {
    return this.json(this.address(this.scope + path, question), signal);
  }

  exportAddress(question) {
    return this.address(`${this.scope}export`, question);
  }

  /** The body of the live stream. */
  async events(lastId, signal) {
    const headers = { Accept: "text/event-stream" };
    if (lastId !== null) headers["Last-Event-ID"] = String(lastId);
    const response = await this.fetch(this.address(`${this.scope}events`), {
      headers,
      signal,
      cache: "no-store",
    });
    if (!isOfType(response, "text/event-stream")) throw new ApiError(0, "no event stream");
    return response.body;
  }

  /** A file, for callers whose token a plain link cannot carry. */
  async file(address) {
    const response = await this.fetch(address, {});
    return { blob: await response.blob(), name: fileName(response) };
  }

  async json(address, signal) {
    // `no-cache` asks with If-None-Match, so that what has not changed is a 304 and comes from the browser's
    // cache.
    const response = await this.fetch(address, { signal, cache: "no-cache" });
    // A reverse proxy without the route to the sidecar answers 200 with the page of the chat application.
    if (!isOfType(response, "application/json")) throw new ApiError(0, "no JSON");
    try {
      return await response.json();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "a broken answer");
    }
  }

  async fetch(address, options) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let response;
    try {
      response = await fetch(address, { credentials: "same-origin", ...options, headers });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, String(error));
    }
    if (!response.ok) throw new ApiError(response.status, response.statusText);
    return response;
  }

  address(path, question = {}) {
    const address = new URL(path, this.base);
    for (const [key, value] of Object.entries(question)) {
      if (value !== null && value !== undefined && value !== "") address.searchParams.set(key, value);
    }
    return address.href;
  }
}

function isOfType(response, type) {
  return (response.headers.get("content-type") ?? "").split(";")[0].trim() === type;
}

function fileName(response) {
  const match = /filename="?([^";]+)"?/.exec(response.headers.get("content-disposition") ?? "");
  return match?.[1] ?? "usage";
}
