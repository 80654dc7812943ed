// Selected runs on shared axes, what differs in their configurations, seeds as mean and band.

import { paint, shortened, spread, swatch } from "./among.js";
import { Chart, Group, loadCharts } from "./charts.js";
import { runLook } from "./colours.js";
import { ask, Points, Refused } from "./live.js";
import { Controls, joined, MAIN, MORE, NO_VALUE, PANELS, smoothed, timesOf, TRAINING, WALL } from "./panels.js";
import { el, known, recall, remember, state } from "./words.js";

const SUBJECTS = [...PANELS, { title: "Separation", strong: MORE[0], diagnostic: true }, { title: "Train loss", strong: "train.scaled_loss", loss: true }];
const MOST = 60;
const MOST_CHIPS = 12;
const AGAIN_MS = 3000;

export class Compare {
  heads = new Map(); // of each run: its swatches in the heads of the tables
  unfolded = false; // whether all runs are named above the charts
  #charts = [];
  #left = false;
  #comparison = null;
  #asking = 0;
  #again = 0;

  constructor(app, ids) {
    this.app = app;
    this.asked = [...new Set(ids)];
    this.ids = this.asked.slice(0, MOST);
    this.group = new Group();
    this.points = new Map(this.ids.map((id) => [id, new Points(id, MAIN)]));
    this.controls = new Controls((name) => {
      if (name === "time") this.group.unzoom(); // the part of x that was shown means nothing there
      this.#draw();
    });
    this.grouped = recall("grouped", false);
    this.#build();
    this.heard = (event) => this.ids.some((id) => event.detail.changed.has(id)) && this.#update(event.detail.changed);
  }

  enter() {
    this.app.live.addEventListener("rows", this.heard);
    if (this.ids.length) this.#update(new Set(this.ids));
    else this.note.textContent = "Select runs in the table first.";
  }

  leave() {
    this.#left = true;
    clearTimeout(this.#asking);
    clearTimeout(this.#again);
    this.app.live.removeEventListener("rows", this.heard);
    for (const { chart } of this.#charts) chart.leave();
  }

  #build() {
    const box = el("input", { type: "checkbox", id: "grouped", checked: this.grouped, onchange: () => {
      this.grouped = box.checked;
      remember("grouped", box.checked);
      this.#draw();
    } });
    this.controls.root.append(el("label", {}, box, " seeds as mean and band"));
    this.links = ["png", "svg"].map((kind) => el("a.button", { download: "" }, kind.toUpperCase()));
    this.#link();
    this.key = el("ul.runs-key", { "aria-label": "Compared runs" });
    this.note = el("p.trouble", {});
    this.untimed = el("span.faint", { role: "status" });
    this.panels = el("div.panels.three", {});
    for (const panel of SUBJECTS) {
      const chart = new Chart(panel.title, this.group, true);
      this.#charts.push({ panel, chart });
      this.panels.append(chart.root);
    }
    this.tables = el("div.tables", {});
    this.root = el("article.compare", {},
      el("div.head", {}, el("h1", {}, this.#title()), el("div.downloads", { role: "group", "aria-label": "Download" }, this.links)),
      this.key, this.note, el("div.bar", {}, this.controls.root, this.untimed), this.panels, this.tables);
  }

  get subject() {
    return this.#title();
  }

  #title() {
    const [n, asked] = [this.ids.length, this.asked.length];
    return n < asked ? `Compare the first ${n} of ${asked} runs` : `Compare ${n} run${n === 1 ? "" : "s"}`;
  }

  // The pictures to take away are drawn by the monitor, with the page's scale and smoothing.
  #link() {
    const { log, smooth } = this.controls;
    const query = this.ids.map((id) => ["id", id]);
    if (log) query.push(["log", "1"]);
    if (smooth) query.push(["smooth", smooth.toFixed(2)]);
    this.links.forEach((link, i) => {
      link.href = `/api/compare/picture.${["png", "svg"][i]}?${new URLSearchParams(query)}`;
      link.title = this.grouped ? "each run by itself: pictures have no bands" : "";
    });
  }

  async #update(changed) {
    try {
      const due = this.ids.filter((id) => changed.has(id));
      await Promise.all([loadCharts(), ...due.map((id) => this.points.get(id).refresh(this.app.live.rows.get(id)?.data ?? null).catch(gone))]);
      if (this.#left) return;
      this.#draw();
      if (this.#comparison === null) await this.#ask();
      else if (!this.#asking) this.#asking = setTimeout(() => { this.#asking = 0; this.#ask().catch(() => {}); }, 1000);
    } catch (error) {
      if (this.#left) return;
      if (error instanceof Refused) this.note.textContent = error.message;
      else this.#again = setTimeout(() => this.#update(new Set(this.ids)), AGAIN_MS); // the banner says so
    }
  }

  async #ask() {
    const comparison = await ask("/api/compare", this.ids.map((id) => ["id", id]));
    if (this.#left) return;
    this.#comparison = comparison;
    this.#tabulate();
    this.#draw();
  }

  #present() {
    return this.ids.filter((id) => this.app.live.rows.has(id) || this.points.get(id).epochs.length);
  }

  #draw() {
    if (this.#left || !("uPlot" in window)) return;
    this.#link();
    const ids = this.#present();
    const { log } = this.controls;
    const times = this.#times(ids);
    // seeds have epochs in common, but no two of them a time
    const groups = this.grouped && this.#comparison && times === null ? this.#comparison.groups : ids.map((id) => [id]);
    this.#drawKey(groups);
    const any = ids.some((id) => this.points.get(id).epochs.length);
    for (const { panel, chart } of this.#charts) {
      const { x, curves } = this.#curves(panel, groups, times);
      chart.draw(x, curves, {}, { log: log && panel.loss, counts: panel.counts, time: times?.kind, absent: any ? panel.absent ?? "no values" : NO_VALUE });
    }
  }

  // What is on x for each run if that is time, and which; runs without any cannot be shown there.
  #times(ids) {
    const times = new Map(ids.map((id) => [id, timesOf(this.points.get(id))]));
    const n = (kind) => ids.filter((id) => times.get(id)?.kind === kind).length;
    const [wall, training, untimed] = [n(WALL), n(TRAINING), n(undefined)];
    const kind = wall ? WALL : training ? TRAINING : null;
    this.controls.offerTime(kind);
    const timed = kind !== null && this.controls.time;
    const notes = [wall && training ? `${training} without a clock by ${TRAINING}` : "", untimed ? `${untimed} without recorded times left out` : "", this.grouped ? "bands need epochs on x" : ""];
    this.untimed.textContent = timed ? notes.filter(Boolean).join("; ") : "";
    return timed ? { kind, of: times } : null;
  }

  // A run's values: over all pairs, or of the sample where there are none.
  #series(panel, id) {
    const points = this.points.get(id);
    const strong = points.get(panel.strong);
    if (!panel.faint || strong.some((value) => value !== null)) return { values: strong };
    return { values: points.get(panel.faint), note: "sampled" };
  }

  #curves(panel, groups, times) {
    const { smooth } = this.controls;
    const parts = groups.flat().map((id) => ({ id, x: times ? times.of.get(id)?.seconds ?? [] : this.points.get(id).epochs, ...this.#series(panel, id) }));
    const { x, columns } = joined(parts);
    const column = new Map(parts.map((part, i) => [part.id, columns[i]]));
    const sampled = new Set(parts.filter((part) => part.note).map((part) => part.id));
    const curves = [];
    groups.forEach((group, place) => {
      const { colour, dash } = runLook(place);
      const there = group.filter((id) => column.get(id).some(known));
      const members = there.map((id) => column.get(id));
      if (!members.length) return;
      const n = there.filter((id) => sampled.has(id)).length;
      const note = n === 0 ? undefined : n === there.length ? "sampled" : `${n} of ${there.length} sampled`;
      const label = this.#label(group);
      const key = group.join();
      const steps = panel.counts && group.length === 1;
      if (members.length > 1) {
        const { mean, low, high } = spread(members);
        curves.push({ key: `${key} high`, band: `${key} low`, colour, values: smoothed(high, smooth), edge: true, quiet: true });
        curves.push({ key: `${key} low`, colour, values: smoothed(low, smooth), edge: true, quiet: true });
        curves.push({ key, label, note, colour, dash, values: smoothed(mean, smooth), exact: mean });
        return;
      }
      const [values] = members;
      if (smooth && !steps) curves.push({ key: `${key} raw`, colour, values, faint: true, quiet: true });
      curves.push({ key, label, note, colour, dash, values: steps ? values : smoothed(values, smooth), exact: values, steps });
    });
    return { x, curves };
  }

  #label(group) {
    const name = this.app.live.rows.get(group[0])?.name ?? group[0];
    return group.length > 1 ? `${name} and ${group.length - 1} more (mean)` : name;
  }

  #drawKey(groups) {
    const shown = this.unfolded ? groups : groups.slice(0, MOST_CHIPS);
    const more = groups.length - shown.length;
    const chips = shown.map((group, place) => {
      const row = this.app.live.rows.get(group[0]);
      const remove = el("button.quiet", { type: "button", "aria-label": `remove ${this.#label(group)}`, onclick: () => this.#remove(group) }, "×");
      return el("li", {}, swatch(place), el("a", { href: `#/run/${group[0]}` }, el("bdi", {}, this.#label(group))), row ? state(row.state, false) : el("span.faint", {}, "gone"), remove);
    });
    if (more) chips.push(el("li", {}, el("button.quiet", { type: "button", onclick: () => this.#unfold(groups) }, `and ${more} more`)));
    this.key.replaceChildren(...chips);
    groups.forEach((group, place) => group.forEach((id) => (this.heads.get(id) ?? []).forEach((mark) => paint(mark, place))));
  }

  #unfold(groups) {
    this.unfolded = true;
    this.#drawKey(groups);
    this.key.children[MOST_CHIPS].querySelector("a").focus();
  }

  #remove(group) {
    for (const id of group) this.app.overview.selected.delete(id);
    this.app.go(`#/compare/${this.asked.filter((id) => !group.includes(id)).join(",")}`);
  }

  #tabulate() {
    const { ids, names, configuration, n_keys_left_out: more, outcome } = this.#comparison;
    const short = shortened(names);
    this.heads = new Map(ids.map((id) => [id, []]));
    const cell = (id, i) => {
      const mark = swatch(i);
      this.heads.get(id).push(mark);
      return el("th", { scope: "col", title: names[i], "aria-label": names[i] }, mark, el("bdi", {}, short[i]));
    };
    const head = (title) => el("thead", {}, el("tr", {}, el("th", { scope: "col" }, title), ids.map(cell)));
    const line = ([name, values]) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, name)), values.map((value) => el("td", {}, el("bdi", {}, words(value)))));
    const differences = Object.entries(configuration);
    const scrolled = (table, name) => el("div.wide-table", { tabIndex: 0, role: "region", "aria-label": name }, table);
    this.tables.replaceChildren(
      el("section.card", {}, el("h2", {}, "Differences of configuration"),
        differences.length ? scrolled(el("table.grid", {}, head("key"), el("tbody", {}, differences.map(line))), "Differences of configuration") : el("p.absent", {}, "the configurations are the same, or there are none"),
        more ? el("p.faint", {}, `${more} more keys differ; the list is cut off here`) : null),
      el("section.card", {}, el("h2", {}, "How they stand"), scrolled(el("table.grid", {}, head("figure"), el("tbody", {}, Object.entries(outcome).map(line))), "How they stand")));
  }
}

function gone(error) {
  if (!(error instanceof Refused && error.status === 404)) throw error;
}

function words(value) {
  return value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value);
}
