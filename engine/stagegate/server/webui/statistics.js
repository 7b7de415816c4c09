/** What the server says of itself, asked for while somebody looks. */

import { element } from "./dom.js";

const EVERY_MS = 2000;

export class Statistics {
  #last = null;
  #shown = [];

  /** @param options {{api, list: HTMLElement, model: () => string, isWatched: () => boolean}} */
  constructor({ api, list, model, isWatched }) {
    Object.assign(this, { api, list, model, isWatched });
    setInterval(() => this.refresh(), EVERY_MS);
  }

  async refresh() {
    if (document.hidden || !this.isWatched()) return;
    try {
      const reading = await this.api.stats();
      const stats = reading.models?.[this.model()];
      this.#show(stats ? this.#lines(stats, reading) : [["State", "no figures for this model"]]);
    } catch (error) {
      this.#last = null;
      const state = error.kind === "unreachable" ? "not reachable" : "gives no figures";
      this.#show([["State", state]]);
    }
  }

  #lines(stats, reading) {
    const lookups = stats.prefix_hits + stats.prefix_misses;
    const share = stats.kv_used_tokens / stats.kv_capacity_tokens;
    const kv = `${count(stats.kv_used_tokens)} of ${count(stats.kv_capacity_tokens)} tokens`;
    return [
      ["Running", count(stats.running)],
      ["Waiting", count(stats.waiting)],
      ["Throughput", this.#throughput(stats)],
      ["KV cache", kv, share],
      ["Prefix hits", lookups ? `${((100 * stats.prefix_hits) / lookups).toFixed(0)} %` : "none yet"],
      ["Prompt tokens saved", count(stats.prefix_saved_tokens)],
      ["Preemptions", count(stats.preemptions)],
      ["Tokens generated", count(stats.completion_tokens_total)],
      ["Up for", duration(reading.uptime_s)],
    ];
  }

  /** Generated tokens per second of all clients since the last reading. */
  #throughput({ completion_tokens_total: tokens }) {
    const now = performance.now();
    const last = this.#last;
    this.#last = { tokens, now, model: this.model() };
    if (last?.model !== this.model() || tokens < last.tokens) return "measuring";
    return `${(((tokens - last.tokens) * 1000) / (now - last.now)).toFixed(0)} tokens/s`;
  }

  #show(lines) {
    const names = lines.map(([name]) => name);
    if (names.join() !== this.#shown.map(({ name }) => name).join()) {
      this.#shown = names.map((name) => ({ name, value: element("dd") }));
      this.list.replaceChildren(
        ...this.#shown.map(({ name, value }) => element("div", {}, element("dt", {}, name), value)),
      );
    }
    lines.forEach(([, text, share], index) => {
      const { value } = this.#shown[index];
      value.textContent = text;
      if (share !== undefined) value.append(meter(share));
    });
  }
}

function meter(share) {
  const bar = element("i");
  bar.style.setProperty("--share", `${Math.min(100, share * 100)}%`);
  return element("span", { className: "meter", "aria-hidden": "true" }, bar);
}

function count(value) {
  return value.toLocaleString("en");
}

function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}
