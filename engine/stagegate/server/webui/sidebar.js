/** The list of conversations, with rename and delete. */

import { element, iconButton } from "./dom.js";

export class Sidebar {
  #renaming = false;

  /** @param actions {{open, rename, remove}} each takes an id; rename also the title */
  constructor(list, actions) {
    Object.assign(this, { list, actions });
  }

  show(summaries, current, isBusy) {
    // A name being typed is not taken away by a save in the background.
    if (this.#renaming) return;
    const focused = document.activeElement?.dataset?.key;
    this.list.replaceChildren(
      ...summaries.map((summary) => this.#row(summary, summary.id === current, isBusy(summary.id))),
    );
    if (focused) this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #row({ id, title }, isCurrent, isBusy) {
    const name = title || "New chat";
    const open = element("button", { type: "button", className: "open", title: name }, name);
    open.classList.toggle("busy", isBusy);
    open.addEventListener("click", () => this.actions.open(id));
    if (isCurrent) open.setAttribute("aria-current", "page");
    const row = element("li", { className: isCurrent ? "current" : "" }, open);
    const edit = iconButton("edit", `Rename ${name}`, () => this.#rename(row, id, title));
    const remove = iconButton("trash", `Delete ${name}`, () => this.actions.remove(id));
    [open, edit, remove].forEach((button, index) => {
      button.dataset.key = `${id}-${index}`;
    });
    row.append(edit, remove);
    return row;
  }

  #rename(row, id, title) {
    this.#renaming = true;
    const input = element("input", { value: title, maxLength: 200, "aria-label": "Name" });
    const close = (name) => {
      if (!this.#renaming) return;
      this.#renaming = false;
      this.actions.rename(id, name.trim() || title);
      this.list.querySelector(`[data-key="${CSS.escape(id)}-1"]`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      close(event.key === "Enter" ? input.value : title);
    });
    input.addEventListener("blur", () => close(input.value));
    row.replaceChildren(input);
    input.select();
  }
}
