// Which runs are ticked: one by one, from one to another, all that are shown.

import { el } from "./words.js";

export class Selection extends Set {
  #last = null; // where a range begins

  toggle(id) {
    this.#last = id;
    if (!this.delete(id)) this.add(id);
  }

  // Ticks all runs from the one that was toggled last to this one, as they are shown.
  extend(id, shown) {
    const [from, to] = [this.#last, id].map((each) => shown.findIndex((run) => run.id === each));
    if (from < 0 || to < 0) return this.toggle(id);
    this.#last = id;
    for (const run of shown.slice(Math.min(from, to), Math.max(from, to) + 1)) this.add(run.id);
  }

  // All that are shown; none of them if all were ticked.
  toggleAll(shown) {
    const all = shown.every((run) => this.has(run.id));
    for (const run of shown) all ? this.delete(run.id) : this.add(run.id);
  }
}

// The box above the others.
export class PickAll {
  constructor(selected, shown, changed) {
    this.selected = selected;
    this.shown = shown;
    this.box = el("input", { type: "checkbox", "aria-label": "select all runs shown", title: "select all runs shown", onclick: () => { selected.toggleAll(shown()); changed(); } });
  }

  tell() {
    const shown = this.shown();
    const n = this.selected.size && shown.filter((run) => this.selected.has(run.id)).length;
    this.box.checked = n > 0 && n === shown.length;
    this.box.indeterminate = n > 0 && n < shown.length;
  }
}

// A range of runs is no range of text.
export function unmarked(event) {
  if (event.shiftKey) event.preventDefault();
}
