// One run: panels, other series, the cloud, what it is and how it fares.

import { cardsOf } from "./cards.js";
import { Chart, Group, loadCharts } from "./charts.js";
import { Density, formation } from "./density.js";
import { isNan } from "./lines.js";
import { ask, Points, Refused } from "./live.js";
import { Controls, MAIN, MORE, NO_VALUE, PANELS, smoothed, timesOf } from "./panels.js";
import { duration, el, isTrain, number, recall, remember, state } from "./words.js";

const MOST_EXTRA = 24;
const AGAIN_MS = 3000;
const USUAL = ["diagnostics.blob_separation", "train.loss"];

export class RunView {
  #charts = [];
  #extra = new Map();
  #timer = 0;
  #again = 0;
  #left = false;
  #detail = null;

  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.group = new Group();
    this.points = new Points(id, MAIN);
    this.density = new Density(id);
    this.controls = new Controls((name) => {
      if (name === "time") this.group.unzoom(); // the part of x that was shown means nothing there
      this.#draw();
    });
    this.wanted = new Set(recall("series", USUAL)); // shown as soon as the run has them
    this.#build();
    this.heard = (event) => event.detail.changed.has(id) && this.#update();
  }

  get subject() {
    return this.app.live.rows.get(this.id)?.name;
  }

  enter() {
    this.app.live.addEventListener("rows", this.heard);
    this.#timer = setInterval(() => this.#head(), 1000);
    this.#update();
  }

  leave() {
    this.#left = true;
    this.app.live.removeEventListener("rows", this.heard);
    clearInterval(this.#timer);
    clearTimeout(this.#again);
    for (const chart of this.#all()) chart.leave();
    this.density.leave();
  }

  key(event) {
    const { selected } = this.app.overview;
    if (!this.title.isConnected) return;
    if (event.key === "x") this.#select(!selected.has(this.id));
    else if (event.key === "c") {
      selected.add(this.id);
      this.app.go(`#/compare/${[...selected].join(",")}`);
    }
  }

  #select(on) {
    const { selected } = this.app.overview;
    if (on) selected.add(this.id);
    else selected.delete(this.id);
    this.#tellSelected();
  }

  #tellSelected() {
    const { selected } = this.app.overview;
    const on = selected.has(this.id);
    this.pick.setAttribute("aria-pressed", on);
    this.pick.textContent = on ? `✓ selected, ${selected.size} in all` : "select";
  }

  #build() {
    this.title = el("h1", {}, "…");
    this.facts = el("dl.facts", {});
    this.trouble = el("p.trouble", { hidden: true });
    const link = (kind, words) => el("a.button", { href: `/api/runs/${this.id}/${kind}`, download: "" }, words);
    this.png = link("picture.png", "PNG");
    this.svg = link("picture.svg", "SVG");
    const downloads = el("div.downloads", { role: "group", "aria-label": "Download" }, this.png, this.svg, link("data.csv", "CSV"), link("data.json", "JSON"));
    this.pick = el("button.pick", { type: "button", title: "for a comparison: x, then c", onclick: () => this.#select(this.pick.getAttribute("aria-pressed") !== "true") });
    this.#tellSelected();
    this.panels = el("div.panels", {});
    for (const panel of PANELS) {
      const chart = new Chart(panel.title, this.group);
      this.#charts.push({ panel, chart });
      this.panels.append(chart.root);
    }
    this.timeline = el("section.card", {}, el("h2", {}, "Formation"), el("div", {}));
    this.picker = el("select", { id: "series", onchange: () => this.#choose(this.picker.value) });
    this.extras = el("div.panels.extras", {});
    this.side = el("div.side", {});
    this.root = el("article.run", {});
    this.parts = [
      el("div.head", {}, this.title, this.pick, downloads), this.facts, this.trouble,
      el("div.bar", {}, this.controls.root),
      el("div.columns", {},
        el("div.main", {}, this.panels, el("div.bar", {}, el("label", { htmlFor: "series" }, "More series "), this.picker), this.extras),
        el("div.aside", {}, this.density.root, this.timeline, this.side))];
  }

  #all() {
    return [...this.#charts.map((each) => each.chart), ...[...this.#extra.values()].map((each) => each.chart)];
  }

  async #update() {
    const row = this.app.live.rows.get(this.id);
    this.#head();
    try {
      // the numbers go before all else: they are what is waited for
      const [fresh] = await Promise.all([this.points.refresh(row?.data ?? null), loadCharts()]);
      if (this.#left) return;
      this.#place();
      this.#draw();
      await Promise.all([...this.#extra.values()].map((each) => each.points.refresh(row?.data ?? null)));
      this.#draw();
      if (fresh) this.density.refresh().catch(() => {});
      this.#tell(await ask(`/api/runs/${this.id}`));
    } catch (error) {
      if (this.#left) return;
      if (!(error instanceof Refused)) return this.#later(); // the connection: the banner says so
      if (error.status === 404 && !row && this.#detail === null) return this.root.replaceChildren(noRun(this.app.overview.address));
      this.trouble.hidden = false;
      this.trouble.textContent = error.message;
    }
  }

  // Only what is known to be a run has panels and buttons.
  #place() {
    if (!this.title.isConnected) this.root.replaceChildren(...this.parts);
  }

  #later() {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#update(), AGAIN_MS);
  }

  #head() {
    const row = this.app.live.rows.get(this.id);
    if (!row) return;
    this.#place();
    if (this.title.dataset.key !== row.name + row.state) {
      this.title.dataset.key = row.name + row.state;
      this.title.replaceChildren(el("bdi", {}, row.name), state(row.state));
    }
    const left = row.left_s === null || !["running", "slow", "diverged"].includes(row.state) ? null : row.left_s - (this.app.live.now() - row.at);
    const facts = [
      ["epoch", `${row.epoch}${row.n_planned ? ` of ${row.n_planned}` : ""}`],
      [isTrain(row.loss_name) ? "train loss" : "loss", isNan(row) ? "nan" : number(row.loss_last, 5)], ["best", row.loss_best === null ? "–" : `${number(row.loss_best, 5)} at ${row.loss_best_epoch}`],
      ["blobs", row.n_blobs === null ? "–" : `${row.n_blobs_sampled ? "~" : ""}${row.n_blobs}${row.born === null ? "" : ` since epoch ${row.born}`}`],
      ["separation", row.separation === null ? "–" : row.separation.toFixed(3)],
      ["an epoch", duration(row.epoch_s)], ["time left", left === null ? "–" : duration(left)],
    ];
    if (row.reason) facts.push(["why", row.reason]);
    const key = JSON.stringify(facts);
    if (this.facts.dataset.key === key) return;
    this.facts.dataset.key = key;
    this.facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  #draw() {
    if (this.#left || !("uPlot" in window)) return;
    const { log, smooth } = this.controls;
    this.controls.offerTime(timesOf(this.points)?.kind ?? null);
    const query = new URLSearchParams({ ...(log ? { log: "1" } : {}), ...(smooth ? { smooth: smooth.toFixed(2) } : {}) });
    for (const [link, kind] of [[this.png, "png"], [this.svg, "svg"]]) link.href = `/api/runs/${this.id}/picture.${kind}${query.size ? `?${query}` : ""}`;
    for (const { panel, chart } of this.#charts) {
      const pair = panel.second ? [["test", panel.strong, "c0"], ["train", panel.second, "c1"]] : [["all pairs", panel.strong, "c0"], ["sampled", panel.faint, "muted"]];
      const absent = !this.points.epochs.length ? NO_VALUE : panel.diagnostic && this.#detail?.diagnostics_missing ? this.#detail.diagnostics_missing : panel.absent;
      this.#drawChart(chart, this.points, pair, { log: log && panel.loss, counts: panel.counts, absent });
    }
    for (const [name, { chart, points }] of this.#extra) this.#drawChart(chart, points, [["", name, "c0"]], { log });
    this.timeline.lastElementChild.replaceChildren(formation(this.points));
  }

  #drawChart(chart, points, names, look) {
    const { time, smooth } = this.controls;
    // an extra series has its own epochs; times come with the main ones
    const same = points === this.points || points.epochs.length === this.points.epochs.length;
    const times = time && same ? timesOf(this.points) : null;
    const x = times?.seconds ?? points.epochs;
    const at = (epoch) => x[points.epochs.indexOf(epoch)];
    const curves = [];
    for (const [label, name, colour] of names) {
      const values = points.get(name);
      if (!values.some((value) => value !== null)) continue;
      const quiet = colour === "muted" && names.length > 1;
      const steps = look.counts;
      if (smooth && !steps) curves.push({ key: `${name} raw`, label, colour, values, faint: true, quiet: true });
      curves.push({ key: name, label, colour, values: steps ? values : smoothed(values, smooth), exact: values, steps, dash: quiet ? [4, 3] : undefined });
    }
    const nonfinite = names.flatMap(([, name]) => [...(points.nonfinite.get(name) ?? [])]).map(at);
    const marks = { restarts: points.restarts.map(at), born: points.born === null ? null : at(points.born) ?? null, nonfinite };
    chart.draw(x, curves, marks, { ...look, time: times?.kind });
  }

  #tell(detail) {
    if (this.#left) return;
    this.#detail = detail;
    this.trouble.hidden = detail.trouble === null;
    this.trouble.textContent = detail.trouble === null ? "" : `unreadable ${detail.trouble}`;
    for (const name of [...this.wanted].slice(0, MOST_EXTRA)) if (detail.series.includes(name)) this.#add(name).catch(() => {});
    this.#offer(detail.series);
    const key = JSON.stringify([detail.config, detail.environment, detail.facts, detail.segments, detail.earlier, detail.restarts, detail.nonfinite, detail.alerts, detail.row.reason]);
    if (this.side.dataset.key === key) return;
    this.side.dataset.key = key;
    this.side.replaceChildren(...cardsOf(detail));
    this.#draw();
  }

  #offer(names) {
    const hidden = new Set([...MAIN.filter((name) => !MORE.includes(name) && !name.startsWith("timing.")), ...this.#extra.keys()]);
    const free = names.filter((name) => !hidden.has(name));
    const key = free.join("\n");
    if (this.picker.dataset.key === key) return;
    this.picker.dataset.key = key;
    const groups = Map.groupBy ? Map.groupBy(free, prefix) : grouped(free);
    this.picker.replaceChildren(el("option", { value: "" }, `add one of ${free.length}`),
      ...[...groups].map(([name, members]) => el("optgroup", { label: name }, members.map((member) => el("option", { value: member }, member)))));
  }

  #choose(name) {
    if (!name) return;
    this.wanted.add(name);
    remember("series", [...this.wanted]);
    this.#add(name).catch(() => {}); // the connection: the next change asks again
  }

  async #add(name) {
    if (this.#extra.has(name)) return;
    const chart = new Chart(name, this.group);
    const points = new Points(this.id, [name]);
    const close = el("button.quiet", { type: "button", "aria-label": `remove ${name}`, onclick: () => this.#remove(name) }, "×");
    chart.line.append(close);
    this.#extra.set(name, { chart, points });
    this.extras.append(chart.root);
    if (this.#detail) this.#offer(this.#detail.series);
    await points.refresh(this.app.live.rows.get(this.id)?.data ?? null);
    this.#draw();
  }

  #remove(name) {
    this.#extra.get(name).chart.leave();
    this.#extra.get(name).chart.root.remove();
    this.#extra.delete(name);
    this.wanted.delete(name);
    remember("series", [...this.wanted]);
    this.#offer(this.#detail.series);
  }
}

function noRun(back) {
  return el("div.notice", {}, el("h1", {}, "No such run"), el("p", {}, "It is not among those that are watched. ", el("a", { href: back }, "All runs")));
}

function prefix(name) {
  return name.includes(".") ? name.slice(0, name.indexOf(".")) : "other";
}

function grouped(names) {
  const groups = new Map();
  for (const name of names) groups.set(prefix(name), [...(groups.get(prefix(name)) ?? []), name]);
  return groups;
}
