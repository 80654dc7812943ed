// The search: bare words are part of a name, all else is the language of --filter.

import { ask, Refused } from "./live.js";
import { el } from "./words.js";

const TYPING_MS = 200;
const AGAIN_MS = 500;

export class Search {
  matching = null; // ids that satisfy the filter, or null for all
  #timer = 0;
  #asked = 0;
  #latest = Promise.resolve(true); // whether the latest filter was understood

  // asked: what is in the box goes for a filter now; found: there is another answer; down: on into the table; out: back to it, nothing to undo
  constructor({ asked, found, down, out }) {
    this.asked = asked;
    this.found = found;
    this.input = el("input", {
      type: "search", id: "search", placeholder: "Filter: seed7  state=running  lr=0.02  blobs>=3",
      spellcheck: false, autocomplete: "off", "aria-describedby": "filter-note",
      oninput: () => { clearTimeout(this.#timer); this.#timer = setTimeout(() => this.#apply(), TYPING_MS); },
      onkeydown: (event) => {
        if (event.key === "Escape") this.input.value ? this.set("") : out();
        else if (event.key === "Enter" || event.key === "ArrowDown") down();
        else return;
        event.preventDefault();
      },
    });
    this.note = el("span.note", { id: "filter-note", role: "status" });
  }

  set(text) {
    this.input.value = text;
    this.#apply();
  }

  admits(id) {
    return this.matching === null || this.matching.has(id);
  }

  // Says how many there are, unless it says what is wrong.
  tell(text) {
    if (this.input.getAttribute("aria-invalid") !== "true") this.note.textContent = text;
  }

  // Runs changed: which of them satisfy the filter may have changed too; asked at most twice a second.
  judgeAgain() {
    if (this.matching !== null && !this.#timer) this.#timer = setTimeout(() => this.#apply(), AGAIN_MS);
  }

  // Answers once what is typed now was judged, true if it was understood.
  async settled() {
    this.#apply();
    let latest;
    let valid;
    do {
      latest = this.#latest;
      valid = await latest;
    } while (latest !== this.#latest);
    return valid;
  }

  #apply() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.asked();
    this.#latest = this.#judge();
  }

  async #judge() {
    const words = this.input.value.match(/(?:[^\s"']+|"[^"]*"?|'[^']*'?)+/g) ?? [];
    const filter = words.map((word) => (/[=<>~]/.test(word) ? word : `name~${word}`)).join(" ");
    const asked = ++this.#asked;
    this.input.removeAttribute("aria-invalid");
    try {
      const found = filter ? await ask("/api/runs", { filter, fields: "id" }) : null;
      if (asked !== this.#asked) return false;
      this.matching = found && new Set(found.ids);
    } catch (error) {
      if (asked !== this.#asked || !(error instanceof Refused)) return false;
      this.input.setAttribute("aria-invalid", "true");
      this.note.textContent = error.message;
      return false;
    }
    this.found();
    return true;
  }
}
