// The cloud of weight pairs, epoch by epoch, and when its blobs formed.

import { roundTicks } from "./axes.js";
import { ask } from "./live.js";
import { el, number, svg } from "./words.js";

const KEPT = 64;
const LIGHT = [[255, 255, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107], [4, 20, 60]];
const DARK = [[22, 26, 30], [18, 52, 92], [24, 98, 158], [62, 160, 200], [160, 218, 210], [253, 250, 200]];
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Density {
  #listing = null;
  #kept = new Map();
  #shown = null;
  #playing = 0;
  #follow = true;

  constructor(id) {
    this.id = id;
    this.canvas = el("canvas", { role: "img" });
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, id: "density-epoch", oninput: () => {
      this.#follow = this.slider.value === this.slider.max;
      this.#show(Number(this.slider.value));
    } });
    this.label = el("output", { htmlFor: "density-epoch" }, "–");
    this.button = el("button.quiet", { type: "button", "aria-label": "play the epochs", onclick: () => this.#play() }, "▶");
    this.note = el("p.absent", {}, "loading…");
    this.x = el("div.ticks.x", { "aria-hidden": "true" });
    this.y = el("div.ticks.y", { "aria-hidden": "true" });
    this.body = el("div.cloud", { hidden: true }, this.y, this.canvas, this.x, el("span.axis.x", {}, "encoder weight"), el("span.axis.y", {}, "decoder weight"));
    this.bar = el("div.slide", { hidden: true }, this.button, el("label.hidden", { htmlFor: "density-epoch" }, "Epoch of the density picture"), this.slider, this.label);
    this.root = el("section.card.density", {}, el("h2", {}, "Weight pairs"), this.body, this.bar, this.note);
    this.repaint = () => this.#paint();
    dark.addEventListener("change", this.repaint);
  }

  leave() {
    dark.removeEventListener("change", this.repaint);
    clearInterval(this.#playing);
  }

  async refresh() {
    const listing = await ask(`/api/runs/${this.id}/densities`);
    const before = this.#listing;
    this.#listing = listing;
    const has = listing.epochs.length > 0;
    this.note.hidden = has;
    this.note.textContent = listing.trouble ?? "";
    this.body.hidden = this.bar.hidden = !has;
    if (!has) return;
    const window = JSON.stringify([listing.encoder, listing.decoder]);
    if (!before || window !== JSON.stringify([before.encoder, before.decoder])) {
      this.#kept.clear();
      this.#ticks();
    }
    const last = listing.epochs.length - 1;
    this.slider.max = last;
    if (this.#follow) this.slider.value = last;
    await this.#show(Math.min(last, Number(this.slider.value)));
  }

  async #show(index) {
    const epoch = this.#listing.epochs[index];
    this.label.textContent = `epoch ${epoch}`;
    this.slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    this.#shown = epoch;
    if (!this.#kept.has(epoch)) {
      let found;
      try {
        found = await ask(`/api/runs/${this.id}/densities/${epoch}`);
      } catch {
        return; // thinned out meanwhile; the next listing tells
      }
      found.bytes = Uint8Array.from(atob(found.pixels), (character) => character.charCodeAt(0));
      found.pixels = null;
      if (this.#kept.size >= KEPT) this.#kept.delete(this.#kept.keys().next().value);
      this.#kept.set(epoch, found);
    }
    if (this.#shown === epoch) this.#paint();
  }

  #paint() {
    const found = this.#kept.get(this.#shown);
    if (!found) return;
    const size = this.#listing.size;
    const palette = paletteOf(dark.matches ? DARK : LIGHT);
    this.canvas.width = this.canvas.height = size;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(size, size);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = palette[found.bytes[i]];
    context.putImageData(image, 0, 0);
    const lost = found.n_nonfinite ? `, ${found.n_nonfinite} not finite` : "";
    this.canvas.setAttribute("aria-label", `Density of ${found.n_pairs} weight pairs after epoch ${found.epoch}, encoder across, decoder up`);
    this.canvas.title = `${found.n_pairs.toLocaleString("en")} pairs, ${found.n_outside} outside the picture${lost}; colour: logarithm of the density`;
  }

  #ticks() {
    for (const [host, [low, high], side] of [[this.x, this.#listing.encoder, "left"], [this.y, this.#listing.decoder, "bottom"]]) {
      host.replaceChildren(...roundTicks(low, high, 5).map((value) => {
        const made = el("span", {}, number(value, 3));
        made.style[side] = `${(100 * (value - low)) / (high - low)}%`;
        return made;
      }));
    }
  }

  #play() {
    if (this.#playing) {
      clearInterval(this.#playing);
      this.#playing = 0;
    } else {
      const last = Number(this.slider.max);
      if (Number(this.slider.value) >= last) this.slider.value = 0;
      this.#playing = setInterval(() => {
        const next = Number(this.slider.value) + 1;
        if (next > Number(this.slider.max)) return this.#play();
        this.slider.value = next;
        this.#show(next);
      }, 250);
    }
    this.button.textContent = this.#playing ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", this.#playing ? "stop" : "play the epochs");
  }
}

function paletteOf(stops) {
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const at = level === 0 ? 0 : (0.08 + 0.92 * (level / 255)) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(at));
    const [r, g, b] = stops[i].map((from, k) => Math.round(from + (at - i) * (stops[i + 1][k] - from)));
    return little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255;
  });
}

// Stretches of epochs with the same number of blobs, as a ribbon and as a list.
export function formation(points) {
  const counts = points.get("diagnostics.n_blobs");
  const separation = points.get("diagnostics.blob_separation");
  const stretches = [];
  points.epochs.forEach((epoch, i) => {
    const n = counts[i] ?? null;
    const last = stretches[stretches.length - 1];
    if (last && last.n === n) last.to = epoch;
    else stretches.push({ n, from: epoch, to: epoch, separation: separation[i] ?? null });
  });
  if (!stretches.some((stretch) => stretch.n !== null)) return el("p.absent", {}, "no blob counts over all pairs");
  const first = points.epochs[0];
  const total = points.epochs[points.epochs.length - 1] - first + 1;
  const ribbon = svg("svg", { class: "ribbon", viewBox: "0 0 1000 26", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const stretch of stretches) {
    const bar = svg("rect", { x: (1000 * (stretch.from - first)) / total, width: Math.max(1, (1000 * (stretch.to - stretch.from + 1)) / total - 2), y: 0, height: 26, rx: 3 });
    bar.dataset.blobs = stretch.n === null ? "none" : Math.min(stretch.n, 5);
    ribbon.append(bar);
  }
  const words = ({ n, from, to }) => `${n === null ? "no count" : n === 1 ? "1 blob" : `${n} blobs`}, epoch${from === to ? ` ${from}` : `s ${from} to ${to}`}`;
  const list = stretches.slice(-12).map((stretch) => {
    const mark = el("i", { "aria-hidden": "true" });
    mark.dataset.blobs = stretch.n === null ? "none" : Math.min(stretch.n, 5);
    return el("li", {}, mark, words(stretch), stretch.n > 1 && stretch.separation !== null ? el("span.faint", {}, `, from separation ${stretch.separation.toFixed(2)}`) : "");
  });
  return el("div", {}, ribbon, el("ol.stretches", {}, list));
}
