/** One answer on its way: reads the stream into a message and measures it. */

import { ApiError } from "./api.js";

export class Generation {
  #abort = new AbortController();

  constructor(conversation, message) {
    this.conversation = conversation;
    this.message = message;
  }

  stop() {
    this.#abort.abort();
  }

  /** Streams until the end, a stop or an error, all of which end up in the message's state. */
  async run(api, body, onProgress) {
    const { message } = this;
    const clock = new StreamClock(message);
    try {
      for await (const chunk of api.chat(body, this.#abort.signal)) {
        if (chunk.usage) message.usage = readUsage(chunk.usage);
        const [choice] = chunk.choices ?? [];
        if (!choice) continue;
        if (choice.finish_reason) message.finishReason = choice.finish_reason;
        if (addDelta(message, choice.delta ?? {})) clock.tick();
        onProgress();
      }
      message.state = "done";
    } catch (error) {
      fail(message, error);
    }
  }
}

/** Times what arrives; the first arrival counts from when the request was sent. */
class StreamClock {
  #sent = performance.now();
  #first = null;

  constructor(message) {
    this.message = message;
  }

  tick() {
    const now = performance.now();
    this.#first ??= now;
    const chunks = (this.message.timing?.chunks ?? 0) + 1;
    const ttftMs = this.#first - this.#sent;
    this.message.timing = { ttftMs, decodeMs: now - this.#first, chunks };
  }
}

/**
 * Tokens per second after the first; null while there are too few to tell.
 * Before the server has counted them, a chunk is taken for a token.
 * @returns {{rate: number|null, exact: boolean, tokens: number}}
 */
export function speedOf({ timing, usage }) {
  const tokens = usage?.completionTokens ?? timing?.chunks ?? 0;
  const enough = tokens > 1 && timing?.decodeMs > 0;
  const rate = enough ? ((tokens - 1) * 1000) / timing.decodeMs : null;
  return { rate, exact: usage !== undefined, tokens };
}

/**
 * Reasoning and answer of a message. A server that does not split them leaves <think> tags in the
 * content.
 */
export function splitReasoning({ reasoning, content }) {
  const thought = reasoning ? null : /^\s*<think>([^]*?)(?:<\/think>\s*|$)/.exec(content);
  if (!thought) return { reasoning, content };
  return { reasoning: thought[1].trim(), content: content.slice(thought[0].length) };
}

function addDelta(message, delta) {
  const { content, reasoning_content: reasoning } = delta;
  if (reasoning) message.reasoning += reasoning;
  if (content) message.content += content;
  return Boolean(reasoning || content);
}

function readUsage(usage) {
  return {
    promptTokens: usage.prompt_tokens ?? 0,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
    completionTokens: usage.completion_tokens ?? 0,
  };
}

function fail(message, error) {
  if (error.name === "AbortError") {
    message.state = "stopped";
    return;
  }
  message.state = "failed";
  if (!(error instanceof ApiError)) {
    // A defect of the page: the message must not wait for ever, and the console shall have it.
    message.error = { kind: "server", message: String(error), parameter: null, retryAt: null };
    console.error(error);
    return;
  }
  const { kind, message: said, parameter, retryAfterS } = error;
  const retryAt = retryAfterS === null ? null : Date.now() + retryAfterS * 1000;
  message.error = { kind, message: said, parameter, retryAt };
}
