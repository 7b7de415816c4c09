/** All conversations: the loaded ones, the list, and keeping both in the store and other tabs. */

import { isEmpty, newConversation } from "./conversation.js";
import { ConversationStore, MemoryStore } from "./store.js";

// Long enough to gather what a stream adds, short enough to lose little in a crash.
const SAVE_AFTER_MS = 700;

/** Events: "list", "problem" (detail: Error or null) and "replaced" (detail: id), by another tab. */
export class Library extends EventTarget {
  #store;
  #loaded = new Map();
  #timers = new Map();
  #failing = false;
  #summaries = new Map();
  #tabs = new BroadcastChannel("stagegate-conversations");

  static async open() {
    const library = new Library();
    try {
      library.#store = await ConversationStore.open();
      await library.#readSummaries();
    } catch (error) {
      library.#store = new MemoryStore();
      library.openingError = error;
    }
    library.#tabs.onmessage = ({ data }) => library.#changedElsewhere(data);
    return library;
  }

  /** Newest first. */
  get summaries() {
    return [...this.#summaries.values()].sort((one, other) => other.updated - one.updated);
  }

  create() {
    const conversation = newConversation();
    this.#loaded.set(conversation.id, conversation);
    return conversation;
  }

  /** The conversation, the same object each time; null when there is none of that id. */
  async get(id) {
    if (!this.#loaded.has(id)) {
      const stored = await this.#store.get(id);
      if (!stored) return null;
      markInterrupted(stored);
      // Whoever asked at the same time may have been first.
      if (!this.#loaded.has(id)) this.#loaded.set(id, stored);
    }
    return this.#loaded.get(id);
  }

  async all() {
    await this.flush();
    return this.#store.all();
  }

  /** Saves soon; many calls make one write. */
  saveSoon(conversation) {
    this.#list(conversation);
    if (this.#timers.has(conversation.id)) return;
    const timer = setTimeout(() => this.save(conversation), SAVE_AFTER_MS);
    this.#timers.set(conversation.id, timer);
  }

  /** Saves now. A failure is an event, not an exception: the page goes on and tries again. */
  async save(conversation) {
    clearTimeout(this.#timers.get(conversation.id));
    this.#timers.delete(conversation.id);
    this.#loaded.set(conversation.id, conversation);
    if (isEmpty(conversation)) return;
    this.#list(conversation);
    try {
      await this.#store.put(conversation);
      this.#tabs.postMessage(conversation.id);
      if (this.#failing) this.#emit("problem", null);
      this.#failing = false;
    } catch (error) {
      this.#failing = true;
      this.#emit("problem", error);
    }
  }

  async flush() {
    const waiting = [...this.#timers.keys()].map((id) => this.#loaded.get(id));
    await Promise.all(waiting.map((conversation) => this.save(conversation)));
  }

  async remove(id) {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.#loaded.delete(id);
    this.#summaries.delete(id);
    this.#emit("list");
    try {
      await this.#store.remove(id);
      this.#tabs.postMessage(id);
    } catch (error) {
      this.#emit("problem", error);
    }
  }

  /** Takes in the conversations of an export. */
  async add(conversations) {
    for (const conversation of conversations) await this.save(conversation);
  }

  has(id) {
    return this.#summaries.has(id);
  }

  #list({ id, title, updated }) {
    const known = this.#summaries.get(id);
    if (known?.title === title && known.updated === updated) return;
    this.#summaries.set(id, { id, title, updated });
    this.#emit("list");
  }

  async #readSummaries() {
    const summaries = await this.#store.summaries();
    this.#summaries = new Map(summaries.map((summary) => [summary.id, summary]));
  }

  async #changedElsewhere(id) {
    // What this tab has not yet written is newer; its own save follows.
    if (this.#timers.has(id)) return;
    await this.#readSummaries();
    const stored = await this.#store.get(id);
    const loaded = this.#loaded.get(id);
    if (loaded && stored) Object.assign(loaded, stored);
    this.#emit("list");
    this.#emit("replaced", id);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** An answer that was streaming when its page went away will not go on. */
function markInterrupted(conversation) {
  for (const message of Object.values(conversation.messages)) {
    if (message.state === "streaming") message.state = "interrupted";
  }
}
