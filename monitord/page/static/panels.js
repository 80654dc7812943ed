// What both views of charts share: the guide's four panels, the controls, one x axis for many runs.

import { el, known, recall, remember } from "./words.js";

export const PANELS = [
  { title: "Silhouette score", strong: "diagnostics.blob_silhouette", faint: "diagnostics.silhouette_score", diagnostic: true, absent: "fewer than two clusters" },
  { title: "Number of clusters", strong: "diagnostics.n_blobs", faint: "diagnostics.n_clusters_dbscan", diagnostic: true, counts: true },
  { title: "Weight correlation", strong: "diagnostics.blob_correlation", faint: "diagnostics.weight_correlation", diagnostic: true },
  { title: "Scaled loss", strong: "test.scaled_loss", second: "train.scaled_loss", loss: true },
];
export const NO_VALUE = "No value yet"; // of runs without any epoch
export const TIMES = ["timing.train_seconds", "timing.test_seconds", "timing.emit_seconds"];
export const MORE = ["diagnostics.blob_separation"];
export const MAIN = [...PANELS.flatMap((panel) => [panel.strong, panel.faint ?? panel.second]), ...MORE, ...TIMES, "at"];

export const WALL = "wall time";
export const TRAINING = "training time";

export class Controls {
  constructor(changed) {
    this.time = recall("time", false);
    this.log = recall("log", false);
    this.smooth = recall("smooth", 0);
    const option = (value, text, on) => el("option", { value, selected: on }, text);
    this.timeOption = option("time", "wall time", this.time);
    this.axis = el("select", { id: "axis", onchange: () => set("time", this.axis.value === "time") }, option("epoch", "epoch", !this.time), this.timeOption);
    const log = el("input", { type: "checkbox", id: "log", checked: this.log, onchange: () => set("log", log.checked) });
    const value = el("output", { htmlFor: "smooth" }, this.smooth.toFixed(2));
    const slider = el("input", { type: "range", id: "smooth", min: 0, max: 0.95, step: 0.05, value: this.smooth, oninput: () => {
      value.textContent = Number(slider.value).toFixed(2);
      set("smooth", Number(slider.value));
    } });
    const set = (name, to) => {
      this[name] = to;
      remember(name, to);
      changed(name);
    };
    this.root = el("div.controls", { role: "group", "aria-label": "How charts are drawn" },
      el("label", {}, "x ", this.axis), el("label", {}, log, " log y"), el("label", {}, "smooth ", slider, value));
  }

  // Time can be chosen only where it was recorded; kind: what there is of it, or null.
  offerTime(kind) {
    this.timeOption.disabled = kind === null;
    this.timeOption.textContent = kind ?? "wall time: not recorded";
    this.axis.value = kind !== null && this.time ? "time" : "epoch";
    this.axis.title = kind === null ? "these runs recorded neither times nor durations of epochs" : kind === WALL ? "since the start, pauses and restarts included" : "the sum of the epochs' durations, without pauses";
  }
}

// When each epoch ended, in seconds since the run's start, and what these seconds are; null where
// the run recorded nothing of it.
export function timesOf(points) {
  const wall = wallTime(points);
  const seconds = wall ?? trainingTime(points);
  return seconds && { seconds, kind: wall ? WALL : TRAINING };
}

// By the clock, pauses and restarts included; a clock that was set back stands still meanwhile.
function wallTime(points) {
  const at = points.get("at");
  if (!at.length || at.some((value) => value === null)) return null;
  let last = Math.min(points.began ?? at[0], at[0]);
  const start = last;
  return at.map((value) => (last = Math.max(last, value)) - start);
}

// The sum of the epochs' durations: without pauses between processes, and without diagnostics that
// lag behind.
function trainingTime(points) {
  if (!points.get(TIMES[0]).some((value) => value !== null)) return null;
  let total = 0;
  return points.epochs.map((_, i) => {
    for (const name of TIMES) total += points.get(name)[i] ?? 0;
    return total;
  });
}

// The debiased moving average; gaps stay gaps and neither move nor reset it.
export function smoothed(values, weight) {
  if (!weight) return values;
  let total = 0;
  let mass = 0;
  return values.map((value) => {
    if (!known(value)) return value;
    total = weight * total + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return total / mass;
  });
}

// The values of several runs on the union of their x values; undefined where only others have one,
// which parts no line.
export function joined(parts) {
  const x = [...new Set(parts.flatMap((part) => part.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const columns = parts.map((part) => {
    const column = new Array(x.length).fill(undefined);
    part.x.forEach((value, i) => (column[place.get(value)] = part.values[i] ?? null));
    return column;
  });
  return { x, columns };
}
