// All runs in one table: only the rows that can be seen are in the document.

import { ask, Refused } from "./live.js";
import { COLUMNS, fillLine, timeLeft } from "./lines.js";
import { el, recall, remember } from "./words.js";

const ROW = 30;
const SPARE = 8;
const AGAIN_MS = 500;
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export class Overview {
  selected = new Set();
  #live;
  #shown = [];
  #matching = null; // ids that satisfy the filter, or null for all
  #active = -1;
  #drawn = new Map();
  #dirty = true;
  #frame = 0;
  #filterAt = 0;
  #asked = 0;

  constructor(live) {
    this.#live = live;
    this.sort = recall("sort", { name: "state", down: false });
    this.#build();
    live.addEventListener("rows", (event) => this.#changed(event.detail));
    setInterval(() => this.#tick(), 1000);
  }

  enter() {
    this.#dirty = true;
    this.#schedule();
    this.grid.focus({ preventScroll: true });
  }

  leave() {}

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  setFilter(text) {
    this.search.value = text;
    this.#applyFilter();
  }

  key(event) {
    const last = this.#shown.length - 1;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 };
    const run = this.#shown[this.#active];
    if (event.key in moves) this.#move(Math.min(last, Math.max(0, this.#active + moves[event.key])));
    else if ((event.key === "Enter" || event.key === " ") && event.target.closest?.("button, a, input")) return;
    else if (event.key === "Enter" && run) location.hash = `#/run/${run.id}`;
    else if ((event.key === " " || event.key === "x") && run) this.#select(run.id);
    else if (event.key === "c" && this.selected.size) this.#compare();
    else return;
    event.preventDefault();
  }

  #build() {
    this.search = el("input", {
      type: "search", id: "search", placeholder: "Filter: seed7  state=running  lr=0.02  blobs>=3",
      spellcheck: false, autocomplete: "off", "aria-describedby": "filter-note",
      oninput: () => { clearTimeout(this.#filterAt); this.#filterAt = setTimeout(() => this.#applyFilter(), 200); },
      onkeydown: (event) => this.#searchKey(event),
    });
    this.note = el("span.note", { id: "filter-note", role: "status" });
    this.compareButton = el("button", { type: "button", disabled: true, onclick: () => this.#compare() }, "Compare");
    const help = el("button.quiet", { type: "button", "aria-label": "Keys and filters", onclick: () => document.dispatchEvent(new Event("help")) }, "?");
    this.head = el("tr", { "aria-rowindex": 1 }, el("th.pick", { scope: "col" }, el("span.hidden", {}, "Selected")));
    for (const column of COLUMNS) this.head.append(this.#headCell(column));
    this.head.append(el("th.loss.wide", { scope: "col" }, "Loss"));
    this.top = el("tr", { "aria-hidden": "true" });
    this.bottom = el("tr", { "aria-hidden": "true" });
    this.body = el("tbody", {});
    this.grid = el("table.runs", { role: "grid", tabIndex: 0, "aria-label": "Runs", "aria-multiselectable": "true" }, el("thead", {}, this.head), this.body);
    this.empty = el("p.notice", { hidden: true });
    this.scroller = el("div.scroller", { onscroll: () => this.#schedule() }, this.grid, this.empty);
    this.root = el("section.overview", {},
      el("h1.hidden", {}, "All runs"),
      el("div.bar", { role: "search" }, el("label.hidden", { htmlFor: "search" }, "Filter runs"), this.search, this.note, this.compareButton, help),
      this.scroller);
    new ResizeObserver(() => this.#schedule()).observe(this.scroller);
  }

  #headCell(column) {
    const button = el("button.sort", { type: "button", onclick: () => this.#sortBy(column) }, column.title);
    const cell = el(`th.${column.name}${column.wide ? ".wide" : ""}${column.text ? "" : ".number"}`, { scope: "col" }, button);
    column.cell = cell;
    return cell;
  }

  #searchKey(event) {
    if (event.key === "Escape") {
      if (this.search.value) this.setFilter("");
      else this.grid.focus();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      clearTimeout(this.#filterAt);
      this.#applyFilter();
      this.grid.focus();
      this.#move(Math.max(0, this.#active));
    } else return;
    event.preventDefault();
  }

  // Bare words are part of a name; everything else is the language of --filter, judged by the server.
  async #applyFilter() {
    clearTimeout(this.#filterAt);
    this.#filterAt = 0;
    const words = this.search.value.match(/(?:[^\s"']+|"[^"]*"?|'[^']*'?)+/g) ?? [];
    const filter = words.map((word) => (/[=<>~]/.test(word) ? word : `name~${word}`)).join(" ");
    const asked = ++this.#asked;
    this.search.removeAttribute("aria-invalid");
    if (!filter) this.#matching = null;
    else {
      try {
        const found = await ask("/api/runs", { filter, fields: "id" });
        if (asked !== this.#asked) return;
        this.#matching = new Set(found.ids);
      } catch (error) {
        if (asked !== this.#asked || !(error instanceof Refused)) return;
        this.search.setAttribute("aria-invalid", "true");
        this.note.textContent = error.message;
        return;
      }
    }
    this.#dirty = true;
    this.#schedule();
  }

  #changed({ changed }) {
    this.#dirty = true;
    for (const id of changed) if (!this.#live.rows.has(id)) this.selected.delete(id);
    if (this.#matching !== null && !this.#filterAt) {
      // which runs satisfy the filter may have changed too; ask at most twice a second
      this.#filterAt = setTimeout(() => { this.#filterAt = 0; this.#applyFilter(); }, AGAIN_MS);
    }
    this.#schedule();
  }

  #tick() {
    if (!this.root.isConnected || document.hidden) return;
    for (const [id, line] of this.#drawn) {
      const run = this.#live.rows.get(id);
      if (run?.left_s) line.left.textContent = timeLeft(run, this.#live.now());
    }
  }

  #schedule() {
    if (this.#frame || !this.root.isConnected) return;
    this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#draw(); });
  }

  #arrange() {
    const order = new Map(this.#live.states.map((name, i) => [name, i]));
    const { name, down } = this.sort;
    const sign = down ? -1 : 1;
    const value = name === "state" ? (run) => order.get(run.state) : (run) => run[name];
    const found = [];
    for (const run of this.#live.rows.values()) if (this.#matching === null || this.#matching.has(run.id)) found.push(run);
    found.sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      const missing = (one === null) - (other === null);
      if (missing) return missing; // last in either direction
      const difference = typeof one === "string" ? collator.compare(one, other) : one - other;
      return sign * difference || collator.compare(a.name, b.name);
    });
    const active = this.#shown[this.#active]?.id;
    this.#shown = found;
    if (active !== undefined) this.#active = found.findIndex((run) => run.id === active);
    this.#dirty = false;
    this.#describe();
  }

  #describe() {
    const { n_all, loaded } = this.#live;
    const n = this.#shown.length;
    if (this.search.getAttribute("aria-invalid") !== "true") this.note.textContent = !loaded ? "" : this.#matching === null ? `${n_all} runs` : `${n} of ${n_all} runs`;
    this.grid.setAttribute("aria-rowcount", n + 1);
    for (const column of COLUMNS) column.cell.setAttribute("aria-sort", column.name === this.sort.name ? (this.sort.down ? "descending" : "ascending") : "none");
    this.empty.hidden = n > 0;
    this.grid.hidden = n === 0 && loaded && this.#matching === null;
    this.empty.textContent = !loaded ? "Loading…" : this.#matching === null ? "No run yet. Runs appear here as soon as they write results.json." : "No run satisfies the filter.";
  }

  #draw() {
    if (this.#dirty) this.#arrange();
    const n = this.#shown.length;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ROW) - SPARE);
    const last = Math.min(n, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / ROW) + SPARE);
    const lines = new Map();
    const nodes = [];
    for (let i = first; i < last; i++) {
      const run = this.#shown[i];
      let line = this.#drawn.get(run.id);
      if (!line || line.run !== run) line = this.#line(run, line);
      lines.set(run.id, line);
      this.#place(line, i);
      nodes.push(line.row);
    }
    this.#drawn = lines;
    this.top.style.height = `${first * ROW}px`;
    this.bottom.style.height = `${(n - last) * ROW}px`;
    const wanted = [this.top, ...nodes, this.bottom];
    const same = wanted.length === this.body.children.length && wanted.every((node, i) => node === this.body.children[i]);
    if (!same) this.body.replaceChildren(...wanted);
    this.#showSelection();
  }

  #place(line, index) {
    line.row.setAttribute("aria-rowindex", index + 2);
    line.row.classList.toggle("active", index === this.#active);
    const selected = this.selected.has(line.run.id);
    line.row.setAttribute("aria-selected", selected);
    line.pick.checked = selected;
    if (index === this.#active) this.grid.setAttribute("aria-activedescendant", line.row.id);
  }

  #line(run, old) {
    const pick = old?.pick ?? el("input", { type: "checkbox", tabIndex: -1, onchange: () => this.#select(run.id) });
    const row = old?.row ?? el("tr", { id: `run-${run.id}`, onclick: (event) => this.#click(event, run.id) });
    return fillLine({ run, row, pick }, this.#live.now());
  }

  #click(event, id) {
    this.#active = this.#shown.findIndex((run) => run.id === id);
    this.#schedule();
    if (event.target.closest("a, input, .pick")) return;
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.#select(id);
    else if (!String(getSelection())) location.hash = `#/run/${id}`;
  }

  #select(id) {
    if (!this.selected.delete(id)) this.selected.add(id);
    this.#schedule();
  }

  #showSelection() {
    const n = this.selected.size;
    this.compareButton.disabled = n === 0;
    this.compareButton.textContent = n ? `Compare ${n}` : "Compare";
  }

  #compare() {
    location.hash = `#/compare/${[...this.selected].slice(0, 60).join(",")}`;
  }

  #move(index) {
    if (!this.#shown.length) return;
    this.#active = index;
    const top = index * ROW;
    const view = this.scroller;
    const head = this.head.offsetHeight;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + ROW + head > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW + head - view.clientHeight;
    this.#schedule();
  }

  #sortBy(column) {
    const down = this.sort.name === column.name && !this.sort.down;
    this.sort = { name: column.name, down };
    remember("sort", this.sort);
    this.#dirty = true;
    this.#schedule();
  }
}
