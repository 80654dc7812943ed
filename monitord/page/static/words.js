// Elements and texts. Everything from a file goes through text nodes and attributes set as
// properties: nothing is ever parsed as HTML.

export const MARKS = {
  running: "●", slow: "◐", diverged: "▲", stalled: "◌", waiting: "○",
  unreadable: "?", failed: "✗", interrupted: "■", finished: "✓",
};

export function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.includes("-") && key !== "list") made[key] = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function state(name, words = true) {
  const mark = el("span.mark", { "aria-hidden": "true" }, MARKS[name] ?? "?");
  const made = el("span.state", { title: name }, mark);
  made.dataset.state = name;
  made.append(el(words ? "span" : "span.narrow-hidden", {}, name));
  return made;
}

export function number(value, digits = 4) {
  if (!known(value) || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
    return value.toExponential(Math.max(0, digits - 1)).replace("-", "−").replace("e+", "e");
  }
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  const whole = Math.max(1, Math.floor(Math.log10(Math.max(size, 1))) + 1);
  return value.toFixed(Math.max(0, digits - whole)).replace("-", "−");
}

// Whether there is a value: null is an epoch without one, undefined another run's place on x.
export function known(value) {
  return value !== null && value !== undefined;
}

export function exact(value) {
  return known(value) ? String(value) : "–";
}

// Whether the loss that a row tells is the training loss, for want of another.
export function isTrain(lossName) {
  return lossName === "loss" || /^train[._]/.test(lossName ?? "");
}

export function fixed(value, digits) {
  return !known(value) ? "–" : value.toFixed(digits).replace("-", "−");
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 0.95) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${Math.round(s)} s`;
  if (s < 5970) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${(s / 86400).toFixed(1)} d`;
}

// A place on an axis of time, as exactly as ticks that are step seconds apart need it.
export function elapsed(seconds, step = null) {
  if (seconds === 0) return "0";
  if (seconds < 60) return Number.isInteger(seconds) ? `${seconds} s` : duration(seconds);
  const s = Math.round(seconds);
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([n]) => n > 0);
  const end = step === null ? first + 2 : step < 60 ? 4 : 3;
  return parts.slice(first, end).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

export function spark(steps, width = 96, height = 20) {
  const made = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const n = steps.length;
  const at = (i) => (n < 2 ? width / 2 : 1.5 + (i * (width - 4)) / (n - 1));
  const up = (step) => height - 2 - (step * (height - 4)) / 99;
  let part = [];
  const draw = () => {
    if (part.length > 1) made.append(svg("polyline", { points: part.join(" ") }));
    part = [];
  };
  steps.forEach((step, i) => (step === null ? draw() : part.push(`${at(i).toFixed(1)},${up(step).toFixed(1)}`)));
  draw();
  const last = steps[n - 1];
  if (last !== null && last !== undefined) made.append(svg("circle", { cx: at(n - 1).toFixed(1), cy: up(last).toFixed(1), r: 1.7 }));
  return made;
}

export function flatten(value, prefix = "", found = []) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const plain = value === null || typeof value !== "object" ? value : JSON.stringify(value);
    found.push([prefix, plain === null ? "null" : String(plain)]);
    return found;
  }
  for (const [key, inner] of Object.entries(value)) {
    if (found.length > 2000) break;
    flatten(inner, prefix ? `${prefix}.${key}` : key, found);
  }
  return found;
}

const kept = "monitord.";

export function recall(name, fallback) {
  try {
    const found = localStorage.getItem(kept + name);
    return found === null ? fallback : JSON.parse(found);
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(kept + name, JSON.stringify(value));
  } catch {
    // private windows: then it is not remembered
  }
}
