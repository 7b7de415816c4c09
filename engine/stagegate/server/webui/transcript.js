/** The messages on the page. Only what changed is made again, so that selections survive a stream. */

import { versionsOf } from "./conversation.js";
import { copyButton, element, iconButton } from "./dom.js";
import { speedOf, splitReasoning } from "./generation.js";
import { renderBlock, splitBlocks } from "./markdown.js";

const NEAR_END_PX = 80;

export class Transcript {
  #views = new Map();

  /** @param actions {{edit, regenerate, select, retry, mend}}: what the buttons do */
  constructor({ scroller, list, latest }, actions) {
    Object.assign(this, { scroller, list, latest, actions });
    this.following = true;
    scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = scroller;
      this.following = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
      latest.hidden = this.following;
    });
    latest.addEventListener("click", () => this.scrollToEnd());
  }

  show(conversation, messages) {
    const views = messages.map((message) => {
      const known = this.#views.get(message.id);
      return known?.message === message ? known : new MessageView(message, this.actions);
    });
    this.#views = new Map(views.map((view) => [view.message.id, view]));
    const nodes = views.map((view) => view.node);
    const same = nodes.length === this.list.children.length;
    if (!same || nodes.some((node, index) => node !== this.list.children[index])) {
      this.list.replaceChildren(...nodes);
    }
    for (const view of views) view.update(versionsOf(conversation, view.message));
    if (this.following) this.scrollToEnd();
  }

  edit(message) {
    this.#views.get(message.id)?.edit();
  }

  scrollToEnd() {
    this.following = true;
    this.latest.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}

class MessageView {
  #rendered = [];
  #toolsFor = "";

  constructor(message, actions) {
    Object.assign(this, { message, actions });
    const isUser = message.role === "user";
    this.content = element("div", { className: isUser ? "content" : "content answer" });
    this.tools = element("div", { className: "tools" });
    this.notes = element("div");
    const label = isUser ? "You" : "Answer";
    this.node = element("article", { className: message.role, "aria-label": label });
    if (isUser) this.content.textContent = message.content;
    else this.node.append(this.#makeReasoning());
    this.node.append(this.content, this.notes, this.tools);
  }

  update(versions) {
    const { message } = this;
    if (message.role === "assistant") this.#updateAnswer();
    const state = [message.state, versions.index, versions.ids.length, message.usage !== undefined];
    const toolsFor = JSON.stringify([...state, message.error]);
    if (toolsFor === this.#toolsFor) return;
    this.#toolsFor = toolsFor;
    this.tools.replaceChildren(...this.#makeTools(versions));
    this.notes.replaceChildren(...this.#makeNotes());
  }

  edit() {
    const { message } = this;
    const area = element("textarea", { value: message.content, "aria-label": "Edit message" });
    const close = () => {
      editor.replaceWith(this.content);
      this.tools.hidden = false;
      this.tools.querySelector("button")?.focus();
    };
    const save = () => {
      const text = area.value.trim();
      close();
      if (text) this.actions.edit(message, text);
    };
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && !event.shiftKey) save();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    const cancelButton = element("button", { type: "button", onclick: close }, "Cancel");
    const sendButton = { type: "button", className: "primary", onclick: save };
    const buttons = element("div", { className: "actions" }, cancelButton);
    buttons.append(element("button", sendButton, "Send"));
    const editor = element("div", { className: "editor" }, area, buttons);
    this.content.replaceWith(editor);
    this.tools.hidden = true;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  #makeReasoning() {
    this.thought = element("div", { className: "content" });
    this.summary = element("summary");
    this.reasoning = element("details", { className: "reasoning" }, this.summary, this.thought);
    this.reasoning.hidden = true;
    return this.reasoning;
  }

  #updateAnswer() {
    const { message } = this;
    const { reasoning, content } = splitReasoning(message);
    const streaming = message.state === "streaming";
    this.reasoning.hidden = !reasoning;
    this.thought.textContent = reasoning;
    this.summary.textContent = streaming && !content ? "Reasoning…" : "Reasoning";
    this.content.classList.toggle("waiting", streaming && !content);
    this.content.setAttribute("aria-busy", String(streaming));
    this.#renderContent(content);
  }

  /** Makes again the blocks from the first that differs. */
  #renderContent(source) {
    const blocks = splitBlocks(source).map((block) => ({ ...block, text: block.lines.join("\n") }));
    const isSame = (block, index) => {
      const old = this.#rendered[index];
      return old !== undefined && old.kind === block.kind && old.text === block.text;
    };
    let same = 0;
    while (same < blocks.length && isSame(blocks[same], same)) same += 1;
    for (const old of this.#rendered.splice(same)) old.node.remove();
    for (const block of blocks.slice(same)) {
      const node = renderBlock(block);
      this.content.append(node);
      this.#rendered.push({ kind: block.kind, text: block.text, node });
    }
  }

  #makeTools(versions) {
    const { message, actions } = this;
    const made = [];
    if (versions.ids.length > 1) made.push(this.#makeVersions(versions));
    if (message.state === "streaming") return made;
    if (message.content) made.push(copyButton(() => splitReasoning(message).content, "Copy message"));
    if (message.role === "user") {
      made.push(iconButton("edit", "Edit message", () => this.edit()));
    } else {
      // A failed answer has its Retry button.
      const again = iconButton("retry", "Regenerate answer", () => actions.regenerate(message));
      if (message.state !== "failed") made.push(again);
      const facts = factsOf(message);
      if (facts) made.push(element("span", { className: "facts", title: sent(message) }, facts));
    }
    return made;
  }

  #makeVersions({ ids, index }) {
    const { message, actions } = this;
    const go = (label, name, to) => {
      const button = iconButton(name, label, () => actions.select(message, to));
      button.disabled = to < 0 || to >= ids.length;
      return button;
    };
    const count = element("span", {}, `${index + 1}/${ids.length}`);
    const before = go("Previous version", "left", index - 1);
    const after = go("Next version", "right", index + 1);
    const group = { className: "versions", role: "group", "aria-label": "Versions" };
    return element("span", group, before, count, after);
  }

  #makeNotes() {
    const { message, actions } = this;
    const remark = remarkOn(message);
    if (remark) return [element("p", { className: "remark" }, remark)];
    if (message.state !== "failed") return [];
    const { error } = message;
    const text = element("p", {}, error?.message ?? "The answer failed.");
    const waitS = error?.retryAt ? Math.ceil((error.retryAt - Date.now()) / 1000) : 0;
    if (waitS > 0) text.append(` It asks to wait ${waitS} s.`);
    const retry = { type: "button", onclick: () => actions.retry(message) };
    const box = element("div", { className: "failure" }, text);
    if (error?.parameter) {
      const mend = { type: "button", onclick: () => actions.mend(error.parameter) };
      box.append(element("button", mend, "Settings"));
    }
    box.append(element("button", retry, "Retry"));
    return [box];
  }
}

function remarkOn({ state, finishReason }) {
  if (state === "stopped") return "Stopped.";
  if (state === "interrupted") return "Interrupted when the page was closed.";
  if (state === "done" && finishReason === "length") return "Ended at the token limit.";
  return null;
}

/** What an answer took, in one line. */
export function factsOf(message) {
  const { timing, usage } = message;
  if (!timing) return "";
  const { rate, exact, tokens } = speedOf(message);
  const about = exact ? "" : "≈ ";
  const parts = [`${about}${tokens} tokens`];
  if (rate !== null) parts.push(`${about}${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`);
  parts.push(`first after ${formatMs(timing.ttftMs)}`);
  if (usage?.cachedTokens) parts.push(`${usage.cachedTokens}/${usage.promptTokens} prompt cached`);
  return parts.join(" · ");
}

function formatMs(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function sent({ model, sampling }) {
  const fields = Object.entries(sampling ?? {}).map(([name, value]) => `${name} ${value}`);
  return [model, ...fields].filter(Boolean).join(", ");
}
