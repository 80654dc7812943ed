// Charts: uPlot does the drawing; here are its look, the key with values, marks, and the keyboard.

import { duration, el, exact, number } from "./words.js";

const HEIGHT = 190;
const EPOCH_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
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

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Beyond seven runs colours come again with another dash: never told apart by colour alone.
export function runLook(place) {
  return { colour: `c${place % 7}`, dash: [[], [7, 3], [2, 2]][Math.floor(place / 7) % 3] };
}

// The debiased moving average; gaps stay gaps and neither move nor reset it.
export function smoothed(values, weight) {
  if (!weight) return values;
  let total = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    total = weight * total + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return total / mass;
  });
}

/* A chart of curves on one x axis.
   A curve: { key, label, colour, values, faint, dash, steps, quiet (not in the key), band (key of its lower edge) } */
export class Chart {
  #plot = null;
  #shape = "";
  #curves = [];
  #marks = {};
  #x = [];
  #look = {};
  #zoomed = false;
  #place = null;

  constructor(title, group, compact = false) {
    this.title = title;
    this.compact = compact; // the names of the curves stand elsewhere
    this.group = group;
    this.key = el("span.key", {});
    this.note = el("p.absent", { hidden: true });
    this.canvas = el("div.canvas", {});
    this.reset = el("button.quiet.unzoom", { type: "button", hidden: true, onclick: () => group.unzoom() }, "reset zoom");
    this.caption = el("figcaption", {}, el("strong", {}, title), this.reset, this.key);
    this.root = el("figure.chart", { tabIndex: 0, onkeydown: (event) => this.#step(event), onblur: () => this.#plot?.setCursor({ left: -10, top: -10 }) },
      this.caption, this.canvas, this.note);
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

  unzoom() {
    this.#zoomed = false;
    this.reset.hidden = true;
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
    const has = this.#curves.some((curve) => curve.values.some((value) => value !== null));
    this.note.hidden = has;
    this.canvas.hidden = !has;
    if (!has) this.note.textContent = this.#look.absent ?? "no values yet";
    this.#describe(has);
    if (!has || !this.root.isConnected) return;
    const shape = JSON.stringify([this.#curves.map((c) => [c.key, c.colour, c.faint, c.dash, c.steps, c.band]), this.#look.log, this.#look.time, this.#look.counts]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), this.#data(), this.canvas);
      this.#tellKey(null);
      return;
    }
    this.#plot.setData(this.#data(), !this.#zoomed);
    if (this.#zoomed) this.#plot.redraw();
    this.#tellKey(this.#plot.cursor.idx);
  }

  #data() {
    const clean = (values) => (this.#look.log ? values.map((value) => (value > 0 ? value : null)) : values);
    return [this.#x, ...this.#curves.map((curve) => clean(curve.values))];
  }

  #options() {
    const ink = colour("muted");
    const line = colour("grid");
    const log = this.#look.log;
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const index = new Map(this.#curves.map((curve, i) => [curve.key, i + 1]));
    return {
      width: Math.max(120, this.canvas.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { sync: { key: this.group.name, setSeries: false }, points: { size: 6 }, drag: { x: true, y: false }, y: false, dataIdx: (u, i, at) => at },
      select: { over: true },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: log ? undefined : (u, low, high) => this.#range(low, high) } },
      axes: [
        { ...axis, space: 46, size: 24, gap: 4, ...(this.#look.time ? { values: (u, at) => at.map((v) => duration(v)), space: 64 } : { incrs: EPOCH_STEPS, values: (u, at) => at.map((v) => String(v)) }) },
        { ...axis, size: 52, gap: 4, space: 28, ...(this.#look.counts ? { incrs: EPOCH_STEPS } : {}), values: (u, at) => at.map((v) => (v === null ? "" : tick(v))) },
      ],
      series: [{}, ...this.#curves.map((curve) => this.#series(curve))],
      bands: this.#curves.flatMap((curve) => (curve.band ? [{ series: [index.get(curve.key), index.get(curve.band)], fill: faded(colour(curve.colour), 0.16) }] : [])),
      hooks: {
        setCursor: [(u) => this.#tellKey(u.cursor.idx)],
        setSelect: [(u) => { if (u.select.width > 2) { this.#zoomed = true; this.reset.hidden = false; } }],
        draw: [(u) => this.#drawMarks(u)],
        ready: [(u) => u.over.addEventListener("dblclick", () => this.group.unzoom())],
      },
    };
  }

  #range(low, high) {
    if (low === null || high === null) return [0, 1];
    if (this.#look.counts) return [0, Math.max(4, Math.ceil(high) + 0.5)];
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - pad, high + pad];
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

  #tellKey(at) {
    if (at === this.#place && this.key.childElementCount) return this.#fillKey(at);
    this.#place = at ?? null;
    this.#fillKey(at);
  }

  #fillKey(at) {
    const shown = this.#curves.filter((curve) => !curve.quiet);
    const most = this.compact ? 8 : 12;
    const made = shown.slice(0, most).map((curve) => {
      const place = at ?? lastKnown(curve.values);
      const value = place < 0 ? null : curve.exact?.[place] ?? curve.values[place];
      const swatch = el("i", { title: curve.label ?? "" });
      swatch.style.background = `var(--${curve.colour})`;
      const shownValue = el("b", { title: exact(value) }, number(value, 6));
      shownValue.dataset.value = exact(value);
      return el("span.item", {}, swatch, curve.label && !this.compact ? el("bdi", {}, curve.label) : "", shownValue);
    });
    if (shown.length > most) made.push(el("span.item", {}, `and ${shown.length - most} more`));
    const where = at === null || at === undefined ? [] : [el("span.at", {}, this.#look.time ? duration(this.#x[at]) : `epoch ${this.#x[at]}`)];
    this.key.replaceChildren(...where, ...made);
  }

  #describe(has) {
    const parts = this.#curves.filter((curve) => !curve.quiet).slice(0, 4).map((curve) => {
      const place = lastKnown(curve.values);
      return place < 0 ? `${curve.label || this.title}: no values` : `${curve.label || this.title}: ${number(curve.values[place], 5)} last`;
    });
    this.root.setAttribute("aria-label", `${this.title}. ${has ? parts.join("; ") : this.note.textContent}. Arrow keys read values.`);
    this.root.setAttribute("role", "group");
  }

  // Vertical lines for restarts and births of blobs; ticks at the top where values are not finite.
  #drawMarks(u) {
    const { restarts = [], born = null, nonfinite = [] } = this.#marks;
    const { ctx, bbox } = u;
    const pixel = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const vertical = (at, name, dash) => {
      const x = u.valToPos(at, "x", true);
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = pixel;
      ctx.setLineDash(dash.map((part) => part * pixel));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    };
    for (const at of restarts) vertical(at, "muted", [3, 3]);
    if (born !== null) {
      vertical(born, "c2", [5, 3]);
      ctx.fillStyle = colour("c2");
      ctx.font = `${10 * pixel}px system-ui, sans-serif`;
      const x = u.valToPos(born, "x", true);
      const right = x > bbox.left + 0.75 * bbox.width;
      ctx.textAlign = right ? "right" : "left";
      ctx.fillText("blobs", x + (right ? -4 : 4) * pixel, bbox.top + 10 * pixel);
    }
    ctx.fillStyle = colour("alarm");
    for (const at of nonfinite) ctx.fillRect(u.valToPos(at, "x", true) - pixel, bbox.top, 2 * pixel, 7 * pixel);
    ctx.restore();
  }

  #step(event) {
    const u = this.#plot;
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
    if (!u || !by) return;
    event.preventDefault();
    event.stopPropagation();
    const last = this.#x.length - 1;
    const from = u.cursor.idx ?? (by > 0 ? -1 : last + 1);
    const at = Math.min(last, Math.max(0, from + by));
    u.setCursor({ left: u.valToPos(this.#x[at], "x"), top: 10 });
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
  static #n = 0;
  name = `group-${Group.#n++}`;

  unzoom() {
    for (const chart of this.charts) chart.unzoom();
  }
}

function lastKnown(values) {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return i;
  return -1;
}

// Whether some value has no neighbour, so that a line alone would not show it.
function lonely(values) {
  return values.length < 4000 && values.some((value, i) => value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null);
}

function tick(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential().replace("e+", "e").replace("-", "−");
  return String(Number(value.toPrecision(6))).replace("-", "−");
}

function faded(hex, share) {
  const found = /^#(..)(..)(..)$/.exec(hex);
  return found ? `rgba(${found.slice(1).map((part) => parseInt(part, 16)).join(", ")}, ${share})` : hex;
}
