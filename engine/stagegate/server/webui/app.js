/** Puts the page together: what is shown, what is asked, and what happens in between. */

import { apiKey, askForKey } from "./access.js";
import { Api } from "./api.js";
import * as tree from "./conversation.js";
import { byId, element } from "./dom.js";
import { Generation } from "./generation.js";
import { Library } from "./library.js";
import { Drawer, SamplingPanel, showToast } from "./panel.js";
import { Sidebar } from "./sidebar.js";
import { Statistics } from "./statistics.js";
import { fromFile, ImportError, toFile } from "./transfer.js";
import { factsOf, Transcript } from "./transcript.js";

const MODEL_KEY = "stagegate-model";
const ANNOUNCED_LENGTH = 300;

class App {
  generations = new Map();
  models = [];
  #frame = 0;

  constructor(library) {
    this.library = library;
    this.api = new Api({ apiKey, askForKey });
    this.prompt = byId("prompt");
    this.transcript = new Transcript(
      { scroller: byId("transcript"), list: byId("messages"), latest: byId("latest") },
      {
        edit: (message, text) => this.ask(text, message.parent),
        regenerate: (message) => this.regenerate(message),
        retry: (message) => this.regenerate(message, message.content === ""),
        select: (message, index) => this.select(message, index),
        mend: (parameter) => this.mend(parameter),
      },
    );
    this.sidebar = new Sidebar(byId("conversations"), {
      open: (id) => this.open(id),
      rename: (id, title) => this.rename(id, title),
      remove: (id) => this.remove(id),
    });
    this.drawers = {
      sidebar: new Drawer(byId("sidebar"), byId("show-sidebar"), byId("hide-sidebar")),
      panel: new Drawer(byId("panel"), byId("show-panel"), byId("hide-panel")),
    };
    this.panel = new SamplingPanel(byId("settings"), (changed) => {
      byId("changed").textContent = changed || "";
    });
    this.statistics = new Statistics({
      api: this.api,
      list: byId("statistics"),
      model: () => byId("model").value,
      isWatched: () => this.drawers.panel.isShown,
    });
    this.#listen();
  }

  async start() {
    if (matchMedia("(min-width: 80rem)").matches) this.drawers.panel.toggle(true);
    await this.open(location.hash.slice(1), { replace: true });
    if (this.library.openingError) showBanner(this.library.openingError.message);
    await this.loadModels();
  }

  async loadModels() {
    const select = byId("model");
    try {
      this.models = await this.api.models();
    } catch (error) {
      showBanner(error.message, { label: "Retry", run: () => this.loadModels() });
      return;
    }
    showBanner(this.library.openingError?.message ?? null);
    const kept = read(MODEL_KEY);
    select.replaceChildren(
      ...this.models.map(({ id }) => element("option", { value: id, selected: id === kept }, id)),
    );
    this.#describeModel();
    this.statistics.refresh();
  }

  /** Shows a conversation; an id that is not there opens a new one. */
  async open(id, { replace = false } = {}) {
    if (this.conversation) this.library.flush();
    this.conversation = (id && (await this.library.get(id))) || this.library.create();
    const hash = `#${this.conversation.id}`;
    if (location.hash !== hash) history[replace ? "replaceState" : "pushState"](null, "", hash);
    this.prompt.value = this.conversation.draft;
    this.transcript.following = true;
    this.drawers.sidebar.toggle(false);
    this.show();
    this.#growPrompt();
    if (!matchMedia("(pointer: coarse)").matches) this.prompt.focus();
  }

  /** Asks a question below a message (null: as the first one) and has it answered. */
  ask(text, parent) {
    if (!this.#isReady()) return false;
    const question = tree.addMessage(this.conversation, parent, { role: "user", content: text });
    this.answer(question);
    return true;
  }

  regenerate(message, inPlace = false) {
    if (!this.#isReady()) return;
    const { messages } = this.conversation;
    this.answer(messages[message.parent], inPlace ? message : null);
  }

  /** Generates an answer to a question: a new version, or a failed one tried again. */
  async answer(question, failed = null) {
    const { conversation } = this;
    const { fields, system } = this.panel.read();
    const model = byId("model").value;
    const fresh = { model, sampling: fields, state: "streaming" };
    const message =
      failed ?? tree.addMessage(conversation, question.id, { role: "assistant", ...fresh });
    if (failed) Object.assign(failed, fresh, { error: undefined, reasoning: "" });
    const generation = new Generation(conversation, message);
    this.generations.set(conversation.id, generation);
    this.transcript.following = true;
    byId("status").textContent = "Generating";
    this.show();
    this.library.save(conversation);
    const body = {
      model,
      messages: tree.requestMessages(conversation, question, system),
      stream: true,
      stream_options: { include_usage: true },
      ...fields,
    };
    await generation.run(this.api, body, () => {
      this.library.saveSoon(conversation);
      this.#showSoon(conversation);
    });
    this.generations.delete(conversation.id);
    conversation.updated = Date.now();
    this.library.save(conversation);
    announce(message);
    this.show();
    this.statistics.refresh();
  }

  stop() {
    this.generations.get(this.conversation.id)?.stop();
  }

  select(message, index) {
    if (this.generations.has(this.conversation.id)) return;
    tree.selectVersion(this.conversation, message, index);
    this.transcript.following = false;
    this.library.save(this.conversation);
    this.show();
  }

  async rename(id, title) {
    const conversation = await this.library.get(id);
    if (conversation && conversation.title !== title) {
      conversation.title = title;
      await this.library.save(conversation);
    }
    this.show();
  }

  async remove(id) {
    const conversation = await this.library.get(id);
    if (!conversation) return;
    this.generations.get(id)?.stop();
    this.generations.delete(id);
    await this.library.remove(id);
    if (id === this.conversation.id) await this.open(null, { replace: true });
    const undo = async () => {
      await this.library.save(conversation);
      await this.open(id);
    };
    showToast("Conversation deleted.", { label: "Undo", run: undo });
  }

  async exportAll() {
    const conversations = await this.library.all();
    const file = new Blob([toFile(conversations)], { type: "application/json" });
    const href = URL.createObjectURL(file);
    const day = new Date().toISOString().slice(0, 10);
    element("a", { href, download: `stagegate-conversations-${day}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  }

  async importFile(file) {
    try {
      const conversations = fromFile(await file.text(), (id) => this.library.has(id));
      await this.library.add(conversations);
      showToast(`Imported ${conversations.length} conversations.`);
    } catch (error) {
      if (!(error instanceof ImportError)) throw error;
      showToast(error.message);
    }
  }

  mend(parameter) {
    this.drawers.panel.toggle(true);
    this.panel.focus(parameter);
  }

  show() {
    const { conversation } = this;
    const messages = tree.shownMessages(conversation);
    const generating = this.generations.has(conversation.id);
    const title = conversation.title || "New chat";
    byId("title").textContent = title;
    document.title = `${title} · Stagegate`;
    byId("welcome").hidden = messages.length > 0;
    byId("send").hidden = generating;
    byId("stop").hidden = !generating;
    this.transcript.show(conversation, messages);
    const last = messages.at(-1);
    byId("live").textContent = generating && last ? factsOf(last) : "";
    this.#showList();
  }

  #showList() {
    const isBusy = (id) => this.generations.has(id);
    this.sidebar.show(this.library.summaries, this.conversation.id, isBusy);
  }

  /** At most once a frame, whatever the rate of the stream. */
  #showSoon(conversation) {
    if (conversation !== this.conversation || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const messages = tree.shownMessages(this.conversation);
      this.transcript.show(this.conversation, messages);
      if (this.generations.has(this.conversation.id)) {
        byId("live").textContent = factsOf(messages.at(-1));
      }
    });
  }

  #isReady() {
    if (this.generations.has(this.conversation.id)) return false;
    const { errors } = this.panel.read();
    const [wrong] = Object.keys(errors);
    if (wrong) {
      this.mend(wrong);
      showToast("A sampling setting needs mending first.");
      return false;
    }
    if (this.models.length === 0) {
      showToast("No model is loaded yet.", { label: "Retry", run: () => this.loadModels() });
      return false;
    }
    return true;
  }

  #send() {
    const text = this.prompt.value.trim();
    const last = tree.shownMessages(this.conversation).at(-1);
    if (!text || !this.ask(text, last?.id ?? null)) return;
    this.prompt.value = "";
    this.conversation.draft = "";
    this.#growPrompt();
  }

  #growPrompt() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight}px`;
  }

  #describeModel() {
    const model = this.models.find(({ id }) => id === byId("model").value);
    const length = model?.max_model_len;
    const room = length ? `, ${length.toLocaleString("en")} tokens of context` : "";
    byId("serving").textContent = model ? `${model.id}${room}` : "";
  }

  #listen() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.prompt.addEventListener("input", () => {
      this.#growPrompt();
      this.conversation.draft = this.prompt.value;
      this.library.saveSoon(this.conversation);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !byId("key-dialog").open) this.stop();
    });
    byId("stop").addEventListener("click", () => {
      this.stop();
      this.prompt.focus();
    });
    byId("skip").addEventListener("click", () => this.prompt.focus());
    byId("new").addEventListener("click", () => this.open(null));
    byId("export").addEventListener("click", () => this.exportAll());
    byId("import").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", async ({ target }) => {
      if (target.files.length) await this.importFile(target.files[0]);
      target.value = "";
    });
    byId("reset").addEventListener("click", () => this.panel.reset());
    byId("show-panel").addEventListener("click", () => this.statistics.refresh());
    byId("model").addEventListener("change", ({ target }) => {
      write(MODEL_KEY, target.value);
      this.#describeModel();
      this.statistics.refresh();
    });
    window.addEventListener("popstate", () => {
      const id = location.hash.slice(1);
      if (id !== this.conversation.id) this.open(id, { replace: true });
    });
    // The last event a phone is sure to give before it ends the page.
    document.addEventListener("visibilitychange", () => this.library.flush());
    window.addEventListener("pagehide", () => this.library.flush());
    this.library.addEventListener("list", () => this.conversation && this.#showList());
    this.library.addEventListener("problem", ({ detail }) => showBanner(detail?.message ?? null));
    this.library.addEventListener("replaced", ({ detail }) => {
      if (detail === this.conversation.id) this.show();
    });
  }
}

function showBanner(text, action = null) {
  const banner = byId("banner");
  if (banner.dataset.text === (text ?? "")) return;
  banner.dataset.text = text ?? "";
  banner.hidden = text === null;
  banner.replaceChildren(text ?? "");
  if (!action) return;
  const onclick = () => {
    showBanner(null);
    action.run();
  };
  banner.append(" ", element("button", { type: "button", className: "text", onclick }, action.label));
}

/** Tells a screen reader once what came of it; the words of a stream are not read one by one. */
function announce(message) {
  const { state, content, error } = message;
  const words = content.split(/\s+/).filter(Boolean).length;
  const answer = content.length <= ANNOUNCED_LENGTH ? content : `Answer finished, ${words} words.`;
  const said = { done: answer, stopped: "Stopped.", failed: error?.message };
  byId("status").textContent = said[state] ?? "";
}

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Without storage the choice holds until the page is left.
  }
}

new App(await Library.open()).start();
