/** Conversations in IndexedDB: each whole, and beside it the summary that the list shows. */

const VERSION = 1;

/** The browser could not keep something; the message says why and what helps. */
export class StorageError extends Error {}

export class ConversationStore {
  #database;

  /** Throws StorageError where the browser allows no database, as in some private windows. */
  static async open(name = "stagegate") {
    const store = new ConversationStore();
    try {
      const request = indexedDB.open(name, VERSION);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("conversations", { keyPath: "id" });
        request.result.createObjectStore("summaries", { keyPath: "id" });
      };
      store.#database = await settled(request);
    } catch (error) {
      throw storageError(error);
    }
    // A newer page in another tab may need to upgrade the database.
    store.#database.onversionchange = () => store.#database.close();
    return store;
  }

  /** @returns {Promise<{id: string, title: string, updated: number}[]>} newest first */
  async summaries() {
    const all = await this.#run("readonly", (_, summaries) => summaries.getAll());
    return all.sort((one, other) => other.updated - one.updated);
  }

  /** @returns {Promise<import("./conversation.js").Conversation|undefined>} */
  get(id) {
    return this.#run("readonly", (conversations) => conversations.get(id));
  }

  all() {
    return this.#run("readonly", (conversations) => conversations.getAll());
  }

  /** Writes the conversation as it is at the moment of the call. */
  put(conversation) {
    const { id, title, updated } = conversation;
    return this.#run("readwrite", (conversations, summaries) => {
      conversations.put(conversation);
      return summaries.put({ id, title, updated });
    });
  }

  remove(id) {
    return this.#run("readwrite", (conversations, summaries) => {
      conversations.delete(id);
      return summaries.delete(id);
    });
  }

  async #run(mode, work) {
    try {
      const transaction = this.#database.transaction(["conversations", "summaries"], mode);
      const ended = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      const stores = ["conversations", "summaries"].map((name) => transaction.objectStore(name));
      const request = work(...stores);
      await ended;
      return request.result;
    } catch (error) {
      throw storageError(error);
    }
  }
}

/** Stands in where there is no database: conversations last as long as the page. */
export class MemoryStore {
  #conversations = new Map();

  async summaries() {
    return [...this.#conversations.values()].sort((one, other) => other.updated - one.updated);
  }

  async get(id) {
    return this.#conversations.get(id);
  }

  async all() {
    return [...this.#conversations.values()];
  }

  async put(conversation) {
    this.#conversations.set(conversation.id, structuredClone(conversation));
  }

  async remove(id) {
    this.#conversations.delete(id);
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function storageError(error) {
  if (error?.name === "QuotaExceededError") {
    return new StorageError(
      "The browser has no room left, so the latest messages are not kept. " +
        "Export what matters, then delete conversations.",
    );
  }
  return new StorageError(
    "This browser keeps no conversations for this page " +
      `(${error?.message ?? "no storage"}). Export before you leave.`,
  );
}
