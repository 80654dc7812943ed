// Runs among each other: their marks, what tells their names apart, their mean.

import { runLook } from "./colours.js";
import { el, known } from "./words.js";

const WORTH_CUTTING = 8; // letters

export function swatch(place) {
  return paint(el("i", { "aria-hidden": "true" }), place);
}

export function paint(mark, place) {
  mark.style.background = `var(--${runLook(place).colour})`;
  mark.dataset.dash = Math.floor(place / 7) % 3;
  return mark;
}

// Names without their common beginning, which ends where a word does.
export function shortened(names) {
  if (names.length < 2) return names;
  const [first, ...others] = names;
  let n = 0;
  while (n < first.length && others.every((name) => name.length > n && name[n] === first[n])) n++;
  const begun = /^.*[/_ -]/s.exec(first.slice(0, n))?.[0].length ?? 0;
  const cut = names.some((name) => name.length <= begun) ? 0 : begun;
  return cut < WORTH_CUTTING ? names : names.map((name) => `…${name.slice(cut)}`);
}

// Mean and mean -+ one standard deviation over the members that have a value.
export function spread(members) {
  const mean = [];
  const low = [];
  const high = [];
  for (let i = 0; i < members[0].length; i++) {
    const values = members.map((member) => member[i]).filter(known);
    if (!values.length) {
      for (const column of [mean, low, high]) column.push(members.some((member) => member[i] === null) ? null : undefined);
      continue;
    }
    const middle = values.reduce((a, b) => a + b, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((a, b) => a + (b - middle) ** 2, 0) / values.length);
    mean.push(middle);
    low.push(middle - deviation);
    high.push(middle + deviation);
  }
  return { mean, low, high };
}
