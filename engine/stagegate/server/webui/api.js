/** The server's HTTP interface: models, statistics and streamed chat. */

import { readEvents } from "./sse.js";

// The page may be served below a path prefix; the API lies beside the folder of this file.
const ROOT = new URL("../", import.meta.url);

/**
 * A request that failed, in words for a person.
 *
 * kind: "unreachable" (no answer came), "lost" (the stream broke off), "busy" (429),
 * "unauthorized" (401), "refused" (other 4xx) or "server" (5xx, or an error within the stream).
 */
export class ApiError extends Error {
  constructor(kind, message, { status = null, parameter = null, retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, parameter, retryAfterS });
  }
}

export class Api {
  /** @param {{apiKey: () => string, askForKey: () => Promise<boolean>}} access */
  constructor(access) {
    this.access = access;
  }

  /** @returns {Promise<{id: string, max_model_len?: number}[]>} */
  async models() {
    const response = await this.#fetch("v1/models");
    return (await readJson(response)).data ?? [];
  }

  /** The counters of /v1/stats. Does not ask for a key: it runs unbidden. */
  async stats() {
    return readJson(await this.#fetch("v1/stats", { quiet: true }));
  }

  /**
   * Streams a chat completion.
   * @returns {AsyncGenerator<object>} the chunks; throws ApiError, or AbortError by the signal
   */
  async *chat(body, signal) {
    const response = await this.#fetch("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    let finished = false;
    try {
      for await (const data of readEvents(response.body)) {
        if (data === "[DONE]") return;
        const chunk = parseChunk(data);
        finished ||= chunk.choices?.some((choice) => choice.finish_reason) ?? false;
        yield chunk;
      }
    } catch (error) {
      if (error instanceof ApiError || error.name === "AbortError") throw error;
      throw lostConnection();
    }
    if (!finished) throw lostConnection();
  }

  async #fetch(path, { quiet = false, headers = {}, ...options } = {}) {
    const key = this.access.apiKey();
    const sent = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
    let response;
    try {
      response = await fetch(new URL(path, ROOT), { ...options, headers: sent });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("unreachable", "The server cannot be reached. Is it running?");
    }
    if (response.ok) return response;
    if (response.status === 401 && !quiet) {
      // Another request may have been given a new key while this one was in flight.
      const known = this.access.apiKey() !== key || (await this.access.askForKey());
      if (known && !options.signal?.aborted) {
        return this.#fetch(path, { quiet, headers, ...options });
      }
    }
    throw await refusal(response);
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError("server", "The server sent an answer that is not JSON.");
  }
}

function parseChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError("server", "The server sent an event that is not JSON.");
  }
  if (chunk.error) {
    throw new ApiError("server", sentence(chunk.error.message ?? "The server gave up"));
  }
  return chunk;
}

function lostConnection() {
  return new ApiError("lost", "The connection was lost before the answer was complete.");
}

async function refusal(response) {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const said = sentence(body?.error?.message ?? `Status ${status} ${response.statusText}`);
  if (status === 429) {
    const retryAfterS = readRetryAfter(response.headers.get("Retry-After"));
    return new ApiError("busy", `The server is busy: ${said}`, { status, retryAfterS });
  }
  if (status === 401) return new ApiError("unauthorized", said, { status });
  const kind = status < 500 ? "refused" : "server";
  return new ApiError(kind, said, { status, parameter: body?.error?.param ?? null });
}

/** Seconds of a Retry-After header, which is a number of seconds or a date; null without one. */
function readRetryAfter(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header.trim())
    ? Number(header)
    : Math.ceil((Date.parse(header) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

function sentence(text) {
  const trimmed = String(text).trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}
