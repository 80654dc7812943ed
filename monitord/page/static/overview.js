// All runs in one table: only the rows that can be seen are in the document.

import { COLUMNS, fillLine, timeLeft } from "./lines.js";
import { addressOf, askedBy, ordered, USUAL_SORT } from "./order.js";
import { Search } from "./search.js";
import { PickAll, Selection, unmarked } from "./selection.js";
import { el, recall, remember } from "./words.js";

const ROW = 30;
const SPARE = 8;

export class Overview {
  selected = new Selection();
  #live;
  #shown = [];
  #active = -1;
  #drawn = new Map();
  #dirty = true;
  #frame = 0;
  #waiting = null; // after Enter in the search: what the keys shall do once its rows are there

  // moved: the filter or the order, and thus the address, may have changed
  constructor(live, moved) {
    this.#live = live;
    this.moved = moved;
    this.sort = recall("sort", USUAL_SORT);
    this.search = new Search({ asked: () => moved(), found: () => this.#rearrange(), down: () => this.#arrive(), out: () => this.grid.focus() });
    this.#build();
    live.addEventListener("rows", (event) => this.#changed(event.detail));
    setInterval(() => this.#tick(), 1000);
  }

  get address() {
    return addressOf(this.search.input.value.trim(), this.sort);
  }

  enter(query) {
    const { filter, sort } = askedBy(query);
    this.sort = sort ?? this.sort;
    if (filter !== this.search.input.value.trim()) this.search.set(filter);
    this.moved();
    this.#rearrange();
    this.grid.focus({ preventScroll: true });
  }

  leave() {}

  focusSearch() {
    this.search.input.focus();
    this.search.input.select();
  }

  setFilter(text) {
    this.search.set(text);
  }

  key(event) {
    const action = this.#actionOf(event);
    if (!action) return;
    event.preventDefault();
    if (this.#waiting) this.#waiting.push(action);
    else action();
  }

  #actionOf(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const run = () => this.#shown[this.#active];
    if (event.key in moves) return () => this.#move(this.#active + moves[event.key]);
    if ((event.key === "Enter" || event.key === " ") && event.target.closest?.("button, a, input")) return null;
    if (event.key === "Enter") return () => run() && (location.hash = `#/run/${run().id}`);
    if (event.key === " " || event.key === "x") return () => run() && this.#select(run().id);
    if (event.key === "c") return () => this.selected.size && this.#compare();
    return null;
  }

  #build() {
    this.compareButton = el("button", { type: "button", disabled: true, onclick: () => this.#compare() }, "Compare");
    this.clearButton = el("button.quiet", { type: "button", hidden: true, onclick: () => this.#clear() }, "clear", el("span.narrow-hidden", {}, " selection"));
    const help = el("button.quiet", { type: "button", "aria-label": "Keys and filters", onclick: () => document.dispatchEvent(new Event("help")) }, "?");
    this.pickAll = new PickAll(this.selected, () => this.#shown, () => this.#schedule());
    this.head = el("tr", { "aria-rowindex": 1 }, el("th.pick", { scope: "col" }, this.pickAll.box));
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
      el("div.bar", { role: "search" }, el("label.hidden", { htmlFor: "search" }, "Filter runs"), this.search.input, this.search.note, this.clearButton, this.compareButton, help),
      this.scroller);
    new ResizeObserver(() => this.#schedule()).observe(this.scroller);
  }

  #headCell(column) {
    const button = el("button.sort", { type: "button", onclick: () => this.#sortBy(column) }, column.title);
    const cell = el(`th.${column.name}${column.wide ? ".wide" : ""}${column.text ? "" : ".number"}`, { scope: "col" }, button);
    column.cell = cell;
    return cell;
  }

  // From the search into the table, to its rows as the filter leaves them; keys wait for those.
  async #arrive() {
    const waiting = (this.#waiting = []);
    this.grid.focus();
    const valid = await this.search.settled();
    if (this.#waiting === waiting) this.#waiting = null;
    if (!valid) return this.search.input.focus();
    if (this.#dirty) this.#arrange();
    this.#move(Math.max(0, this.#active));
    for (const action of waiting) action();
  }

  #changed({ changed }) {
    this.#dirty = true;
    for (const id of changed) if (!this.#live.rows.has(id)) this.selected.delete(id);
    this.search.judgeAgain();
    this.#schedule();
  }

  #rearrange() {
    this.#dirty = true;
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
    const admitted = [...this.#live.rows.values()].filter((run) => this.search.admits(run.id));
    const found = ordered(admitted, this.sort, this.#live.states);
    const active = this.#shown[this.#active]?.id;
    this.#shown = found;
    if (active !== undefined) this.#active = found.findIndex((run) => run.id === active);
    this.#dirty = false;
    this.#describe();
  }

  #describe() {
    const { n_all, loaded } = this.#live;
    const n = this.#shown.length;
    const all = this.search.matching === null;
    this.search.tell(!loaded ? "" : all ? `${n_all} runs` : `${n} of ${n_all} runs`);
    this.grid.setAttribute("aria-rowcount", n + 1);
    for (const column of COLUMNS) column.cell.setAttribute("aria-sort", column.name === this.sort.name ? (this.sort.down ? "descending" : "ascending") : "none");
    this.empty.hidden = n > 0;
    this.grid.hidden = n === 0 && loaded && all;
    this.empty.textContent = !loaded ? "Loading…" : all ? "No run yet. Runs appear here as soon as they write results.json." : "No run satisfies the filter.";
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
    const pick = old?.pick ?? el("input", { type: "checkbox", tabIndex: -1, onclick: (event) => this.#select(run.id, event.shiftKey) });
    const row = old?.row ?? el("tr", { id: `run-${run.id}`, onclick: (event) => this.#click(event, run.id), onmousedown: unmarked });
    return fillLine({ run, row, pick }, this.#live.now());
  }

  #click(event, id) {
    this.#active = this.#shown.findIndex((run) => run.id === id);
    this.#schedule();
    if (event.target.closest("a, input, .pick")) return;
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.#select(id, event.shiftKey);
    else if (!String(getSelection())) location.hash = `#/run/${id}`;
  }

  #select(id, range = false) {
    if (range) this.selected.extend(id, this.#shown);
    else this.selected.toggle(id);
    this.#schedule();
  }

  #clear() {
    this.selected.clear();
    this.grid.focus();
    this.#schedule();
  }

  #showSelection() {
    const n = this.selected.size;
    this.pickAll.tell();
    this.compareButton.disabled = n === 0;
    this.clearButton.hidden = n === 0;
    this.compareButton.textContent = n ? `Compare ${n}` : "Compare";
  }

  #compare() {
    location.hash = `#/compare/${[...this.selected].join(",")}`;
  }

  #move(index) {
    if (!this.#shown.length) return;
    index = Math.min(this.#shown.length - 1, Math.max(0, index));
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
    this.moved();
    this.#rearrange();
  }
}
