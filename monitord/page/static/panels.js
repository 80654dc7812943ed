// What both views of charts share: the guide's four panels, the controls, one x axis for many runs.

import { el, recall, remember } from "./words.js";

export const PANELS = [
  { title: "Silhouette score", strong: "diagnostics.blob_silhouette", faint: "diagnostics.silhouette_score", diagnostic: true, absent: "fewer than two clusters" },
  { title: "Number of clusters", strong: "diagnostics.n_blobs", faint: "diagnostics.n_clusters_dbscan", diagnostic: true, counts: true },
  { title: "Weight correlation", strong: "diagnostics.blob_correlation", faint: "diagnostics.weight_correlation", diagnostic: true },
  { title: "Scaled loss", strong: "test.scaled_loss", second: "train.scaled_loss", loss: true },
];
export const TIMES = ["timing.train_seconds", "timing.test_seconds", "timing.emit_seconds"];
export const MORE = ["diagnostics.blob_separation"];
export const MAIN = [...PANELS.flatMap((panel) => [panel.strong, panel.faint ?? panel.second]), ...MORE, ...TIMES];

export class Controls {
  constructor(changed) {
    this.time = recall("time", false);
    this.log = recall("log", false);
    this.smooth = recall("smooth", 0);
    const option = (value, text, on) => el("option", { value, selected: on }, text);
    this.timeOption = option("time", "training time", this.time);
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

  // Training time can be chosen only where it was recorded.
  offerTime(has) {
    this.timeOption.disabled = !has;
    this.timeOption.textContent = has ? "training time" : "training time: not recorded";
    this.axis.value = has && this.time ? "time" : "epoch";
    this.axis.title = has ? "training time: the sum of the epochs' durations, without pauses" : "these runs recorded no durations of epochs";
  }
}

// Seconds of training up to each epoch, the sum of their durations: without pauses between
// processes, and without diagnostics that lag behind. Null where no duration was recorded.
export function trainingTime(points) {
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
    if (value === null) return null;
    total = weight * total + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return total / mass;
  });
}

// The values of several runs on the union of their x values.
export function joined(parts) {
  const x = [...new Set(parts.flatMap((part) => part.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const columns = parts.map((part) => {
    const column = new Array(x.length).fill(null);
    part.x.forEach((value, i) => (column[place.get(value)] = part.values[i] ?? null));
    return column;
  });
  return { x, columns };
}
