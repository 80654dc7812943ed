// Charts: uPlot does the drawing; here are its look, zoom, marks, and the keyboard.

import { axesOf, rangeOf } from "./axes.js";
import { colour, drawMarks, faded } from "./colours.js";
import { describe, keyItems, nearestItems, whereOf } from "./keys.js";
import { el, known } from "./words.js";

const HEIGHT = 190;
let loading = null;

export function loadCharts() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(el("link", { rel: "stylesheet", href: "/charts/uPlot.min.css" }));
    document.head.append(el("script", {
      src: "/charts/uPlot.iife.js",
      onload: resolve,
      onerror: () => { loading = null; reject(new Error("the chart library did not load")); },
    }));
  });
  return loading;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/* A chart of curves on one x axis.
   A curve: { key, label, colour, values, faint, dash, steps, note (such as "sampled"),
   quiet (not in the key), band (key of its lower edge) } */
export class Chart {
  #plot = null;
  #shape = "";
  #curves = [];
  #marks = {};
  #x = [];
  #look = {};
  #reading = null; // the x that the keyboard reads
  #under = false; // the pointer

  constructor(title, group, compact = false) {
    this.title = title;
    this.compact = compact; // the names of the curves stand elsewhere
    this.group = group;
    this.key = el("div.key", {});
    this.at = el("span.at", {});
    this.note = el("p.absent", { hidden: true });
    this.canvas = el("div.canvas", {});
    this.tip = el("div.tip", { hidden: true, "aria-hidden": "true" });
    this.reset = el("button.quiet.unzoom", { type: "button", hidden: true, onclick: () => group.unzoom() }, "reset zoom");
    this.line = el("div.line", {}, el("strong", { title }, title), this.at, this.reset);
    this.root = el("figure.chart", { role: "group", tabIndex: 0, onkeydown: (event) => this.#step(event), onblur: () => this.#rest() },
      el("figcaption", {}, this.line, this.key), this.canvas, this.note);
    this.root.classList.toggle("compact", compact);
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.canvas);
    this.repaint = () => { this.#shape = ""; this.#redraw(); };
    dark.addEventListener("change", this.repaint);
    group.charts.add(this);
  }

  leave() {
    this.observer.disconnect();
    dark.removeEventListener("change", this.repaint);
    this.group.charts.delete(this);
    this.#plot?.destroy();
    this.#plot = null;
  }

  // Takes over the group's part of the x axis; all of it where x means something else here.
  rescale() {
    this.reset.hidden = this.#zoom() === null;
    this.#plot?.setData(this.#data(), true);
  }

  // look: { log, time, counts, signed, absent }
  draw(x, curves, marks = {}, look = {}) {
    this.#x = x;
    this.#curves = curves;
    this.#marks = marks;
    this.#look = look;
    this.#redraw();
  }

  #redraw() {
    const has = this.#curves.some((curve) => curve.values.some(known));
    this.note.hidden = has;
    this.canvas.hidden = !has;
    if (!has) this.note.textContent = this.#look.absent ?? "no values";
    this.root.setAttribute("aria-label", `${this.title}. ${has ? describe(this.title, this.#curves) : this.note.textContent}. Arrow keys read values.`);
    this.reset.hidden = !has || this.#zoom() === null;
    if (!has) this.#tell(null);
    if (!has || !this.root.isConnected) return;
    const shape = JSON.stringify([this.#curves.map((c) => [c.key, c.colour, c.faint, c.dash, c.steps, c.band]), this.#look.log, this.#look.time, this.#look.counts]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), this.#data(), this.canvas);
      this.canvas.append(this.tip);
    } else {
      this.#plot.setData(this.#data(), true);
    }
    if (this.#reading !== null) this.#read(this.#x.indexOf(this.#reading));
    else this.#tell(this.#plot.cursor.idx);
  }

  #zoom() {
    return this.group.timed === Boolean(this.#look.time) ? this.group.range : null;
  }

  #data() {
    const clean = (values) => (this.#look.log ? values.map((value) => (value === undefined || value > 0 ? value : null)) : values);
    return [this.#x, ...this.#curves.map((curve) => clean(curve.values))];
  }

  #options() {
    const line = colour("grid");
    const style = { stroke: colour("muted"), font: "11px system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const index = new Map(this.#curves.map((curve, i) => [curve.key, i + 1]));
    // the pointer's place is shared by all charts of a group; what is dragged is this chart's alone
    const pub = (type) => type === "mousemove" || type === "mouseleave";
    return {
      width: Math.max(120, this.canvas.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, this.#look.time ? 26 : 8, 0, 0], // the last time is written in full
      cursor: {
        sync: { key: `${this.group.name}-${Boolean(this.#look.time)}`, setSeries: false, filters: { pub } },
        points: { size: 6 }, drag: { x: true, y: false, setScale: false }, y: false, dataIdx: (u, i, at) => at,
      },
      select: { over: true },
      scales: {
        x: { time: false, range: (u, low, high) => this.#zoom() ?? [low, high] },
        y: { distr: this.#look.log ? 3 : 1, range: (u, low, high) => rangeOf(this.#look, low, high) },
      },
      axes: axesOf(this.#look, style),
      series: [{}, ...this.#curves.map((curve) => this.#series(curve))],
      bands: this.#curves.flatMap((curve) => (curve.band ? [{ series: [index.get(curve.key), index.get(curve.band)], fill: faded(colour(curve.colour), 0.16) }] : [])),
      hooks: {
        setCursor: [(u) => this.#tell(this.#reading === null ? u.cursor.idx : this.#x.indexOf(this.#reading))],
        setSelect: [(u) => this.#dragged(u)],
        draw: [(u) => drawMarks(u, this.#marks)],
        ready: [(u) => this.#listen(u)],
      },
    };
  }

  #listen(u) {
    u.over.addEventListener("dblclick", () => this.group.unzoom());
    u.over.addEventListener("mouseenter", () => { this.#under = true; });
    u.over.addEventListener("mouseleave", () => { this.#under = false; this.tip.hidden = true; });
    u.over.addEventListener("mousemove", () => { this.#reading = null; });
  }

  #dragged(u) {
    const { left, width } = u.select;
    if (width <= 2) return;
    const [low, high] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (this.#x.some((x) => x >= low && x <= high)) this.group.zoom([low, high], Boolean(this.#look.time));
  }

  #series(curve) {
    const stroke = colour(curve.colour);
    return {
      stroke: curve.edge ? "transparent" : curve.faint ? faded(stroke, 0.35) : stroke,
      width: curve.edge ? 0 : curve.faint ? 1 : 1.75,
      dash: curve.dash,
      paths: curve.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: (u, i) => !curve.edge && !curve.faint && this.#x.length < 2 ? true : lonely(curve.values), size: 5, fill: stroke },
      spanGaps: false,
    };
  }

  #tell(at) {
    const place = at !== null && at !== undefined && at >= 0 && at < this.#x.length ? at : null;
    this.at.textContent = place === null ? "" : whereOf(this.#x, place, this.#look.time);
    this.key.replaceChildren(...keyItems(this.#x, this.#curves, place, { compact: this.compact, time: this.#look.time }));
    this.#tellNearest(place);
  }

  // Many curves are told apart where they are looked at: beside the pointer, with their names.
  #tellNearest(at) {
    this.tip.hidden = !this.compact || !this.#under || at === null;
    if (this.tip.hidden) return;
    const u = this.#plot;
    const items = nearestItems(this.#curves, at, (value) => Math.abs(u.valToPos(value, "y") - u.cursor.top));
    this.tip.hidden = !items.length;
    this.tip.replaceChildren(...items);
    this.tip.classList.toggle("left", u.cursor.left > u.over.clientWidth / 2);
  }

  #step(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!this.#plot || !by) return;
    event.preventDefault();
    event.stopPropagation();
    const { min, max } = this.#plot.scales.x;
    const first = this.#x.findIndex((x) => x >= min);
    const last = this.#x.findLastIndex((x) => x <= max);
    if (first < 0 || first > last) return;
    const known = this.#reading === null ? this.#plot.cursor.idx ?? -1 : this.#x.indexOf(this.#reading);
    const inside = known >= first && known <= last;
    const from = inside ? known : by > 0 ? first - 1 : last + 1;
    this.#read(Math.min(last, Math.max(first, from + by)));
  }

  // Keeps the place itself: of many epochs in one pixel the cursor could not say which was meant.
  #read(at) {
    if (at < 0) return this.#rest();
    this.#reading = this.#x[at];
    this.#plot.setCursor({ left: this.#plot.valToPos(this.#reading, "x"), top: 10 });
    this.#tell(at);
  }

  #rest() {
    this.#reading = null;
    this.#plot?.setCursor({ left: -10, top: -10 });
  }

  #fit() {
    const width = this.canvas.clientWidth;
    if (this.#plot === null) this.#redraw();
    else if (width > 0 && Math.abs(width - this.#plot.width) > 1) this.#plot.setSize({ width, height: HEIGHT });
  }
}

// Charts that are hovered and zoomed together.
export class Group {
  charts = new Set();
  range = null; // the part of x that is shown, or null for all
  timed = false; // whether that part is in seconds
  static #n = 0;
  name = `group-${Group.#n++}`;

  zoom(range, timed) {
    this.range = range;
    this.timed = timed;
    for (const chart of this.charts) chart.rescale();
  }

  unzoom() {
    this.zoom(null, false);
  }
}

// Whether some value has no neighbour, so that a line alone would not show it.
function lonely(values) {
  const own = values.length < 4000 ? values.filter((value) => value !== undefined) : [];
  return own.some((value, i) => value !== null && !known(own[i - 1]) && !known(own[i + 1]));
}
