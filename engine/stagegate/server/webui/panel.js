/** The sampling panel: fields kept in the browser, checked while typing. */

import { byId, element } from "./dom.js";
import { FIELDS, readSampling } from "./sampling.js";

const KEY = "stagegate-settings";

export class SamplingPanel {
  #texts = readKept();
  #inputs = new Map();
  #wrongs = new Map();

  constructor(form, onchange) {
    this.onchange = onchange;
    form.append(this.#row("system", "System prompt", "", element("textarea", { rows: 2 }), true));
    for (const { name, label, hint, integer } of FIELDS) {
      const input = element("input", { inputMode: integer ? "numeric" : "decimal" });
      input.placeholder = "default";
      form.append(this.#row(name, label, hint, input));
    }
    const stop = element("textarea", { rows: 2 });
    form.append(this.#row("stop", "Stop strings", "one a line, \\n for a line break", stop, true));
    form.addEventListener("submit", (event) => event.preventDefault());
    this.#check();
  }

  /** @returns {{fields: object, errors: object, system: string}} */
  read() {
    return { ...readSampling(this.#texts), system: (this.#texts.system ?? "").trim() };
  }

  reset() {
    this.#texts = {};
    for (const input of this.#inputs.values()) input.value = "";
    this.#keep();
  }

  focus(name) {
    this.#inputs.get(name)?.focus();
  }

  #row(name, label, hint, input, long = false) {
    Object.assign(input, { id: `setting-${name}`, value: this.#texts[name] ?? "" });
    input.setAttribute("aria-describedby", `wrong-${name}`);
    input.addEventListener("input", () => {
      this.#texts[name] = input.value;
      this.#keep();
    });
    const wrong = element("p", { id: `wrong-${name}`, className: "wrong" });
    this.#inputs.set(name, input);
    this.#wrongs.set(name, wrong);
    const title = element("label", { htmlFor: input.id }, label);
    if (hint) title.append(element("small", {}, hint));
    return element("div", { className: long ? "setting long" : "setting" }, title, input, wrong);
  }

  #keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#texts));
    } catch {
      // Without storage the settings hold until the page is left.
    }
    this.#check();
  }

  #check() {
    const { fields, errors, system } = this.read();
    for (const [name, wrong] of this.#wrongs) {
      wrong.textContent = errors[name] ?? "";
      this.#inputs.get(name).setAttribute("aria-invalid", String(name in errors));
    }
    this.onchange(Object.keys(fields).length + (system ? 1 : 0), Object.keys(errors).length);
  }
}

/** Opens and closes a drawer; where it lies over the page, the page behind cannot be reached. */
export class Drawer {
  #narrow = matchMedia("(max-width: 56rem)");

  constructor(drawer, opener, closer) {
    Object.assign(this, { drawer, opener });
    opener.addEventListener("click", () => this.toggle(!this.isShown));
    closer.addEventListener("click", () => this.toggle(false));
    drawer.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isShown || !this.#narrow.matches) return;
      event.stopPropagation();
      this.toggle(false);
    });
    document.addEventListener("pointerdown", (event) => {
      const outside = !drawer.contains(event.target) && !opener.contains(event.target);
      if (this.isShown && this.#narrow.matches && outside) this.toggle(false);
    });
    this.#narrow.addEventListener("change", () => this.#guard());
  }

  get isShown() {
    return this.drawer.classList.contains("shown");
  }

  toggle(shown) {
    const had = this.drawer.contains(document.activeElement);
    this.drawer.classList.toggle("shown", shown);
    this.opener.setAttribute("aria-expanded", String(shown));
    this.#guard();
    if (shown && this.#narrow.matches) this.drawer.querySelector("button").focus();
    else if (!shown && had) this.opener.focus();
  }

  #guard() {
    const over = document.querySelectorAll(".drawer.shown").length > 0 && this.#narrow.matches;
    document.querySelector("main").inert = over;
  }
}

function readKept() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const texts = Object.entries(kept).filter(([, text]) => typeof text === "string");
    return Object.fromEntries(texts);
  } catch {
    return {};
  }
}

/** A line that goes away by itself, with an action that takes back what it tells. */
export function showToast(text, action = null) {
  const toast = byId("toast");
  const hide = () => {
    toast.hidden = true;
  };
  toast.replaceChildren(element("span", {}, text));
  if (action) {
    const onclick = () => {
      hide();
      action.run();
    };
    toast.append(element("button", { type: "button", onclick }, action.label));
  }
  toast.hidden = false;
  clearTimeout(showToast.timer);
  showToast.timer = setTimeout(hide, 8000);
  byId("status").textContent = text;
}
