// Axes: which part of a scale is shown, where its ticks lie and what they say.

import { elapsed } from "./words.js";

const EPOCH_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
const TIME_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000, 2592000, 8640000];
const ANY_STEP = [1e300]; // of its own steps none is large enough for a loss of 1e17
const MOST_TICKS = 6;

// look: { log, time (what x is then), counts }; style: what all axes of the page have in common
export function axesOf(look, style) {
  const x = look.time ? { values: (u, at, axis, space, step) => at.map((v) => elapsed(v, step)), incrs: TIME_STEPS, space: 68, label: look.time, labelSize: 14, labelGap: 0, labelFont: style.font } : { incrs: EPOCH_STEPS, values: (u, at) => at.map(String) };
  return [
    { ...style, space: 46, size: 24, gap: 4, ...x },
    { ...style, size: 52, gap: 4, incrs: ANY_STEP, splits: (u, axis, low, high) => (look.log ? logTicks : roundTicks)(low, high), filter: (u, at) => at, values: (u, at) => at.map((v) => (v === null ? "" : tick(v))) },
  ];
}

export function rangeOf(look, low, high) {
  if (low === null || high === null) return look.log ? [0.1, 1] : [0, 1];
  if (look.log) {
    const share = 10 ** Math.max(0.01, 0.06 * Math.log10(high / low));
    return [low / share, high * share];
  }
  if (look.counts) return [0, Math.max(4, Math.ceil(high) + 0.5)];
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  return [low > 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

// Powers of ten; on a short axis also 2 and 5 times them; on a very short one plain round steps.
export function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const inside = (value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9);
  const powers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const whole = powers.filter((power) => inside(10 ** power));
  if (whole.length >= 3) {
    const stride = Math.ceil(whole.length / MOST_TICKS);
    return whole.filter((_, i) => i % stride === 0).map((power) => Number(`1e${power}`));
  }
  const found = powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`))).filter(inside);
  return found.length >= 3 ? found : roundTicks(low, high);
}

export function roundTicks(low, high, most = MOST_TICKS) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const first = Math.ceil(low / step);
  const found = Array.from({ length: most + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return found.filter((value) => value <= high);
}

function tick(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential().replace("e+", "e").replace("-", "−");
  return String(Number(value.toPrecision(6))).replace("-", "−");
}
