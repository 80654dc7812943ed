// What a chart says in words: the key above it, the list beside the pointer, its accessible name.

import { el, elapsed, exact, known, number } from "./words.js";

const NEAREST = 8;

export function whereOf(x, at, time) {
  return time ? elapsed(x[at]) : `epoch ${x[at]}`;
}

// The key: values at a place, or the last ones, which say so where they are not of the last place.
export function keyItems(x, curves, at, { compact, time }) {
  const shown = named(curves);
  const most = compact ? 8 : 12;
  const made = shown.slice(0, most).map((curve) => {
    const last = lastKnown(curve.values);
    const place = at === null ? last : placeOf(curve, at);
    const old = place >= 0 && place === last && place < (at ?? x.length - 1);
    const notes = [curve.note ?? "", old ? `at ${time ? elapsed(x[place]) : x[place]}` : ""].filter(Boolean);
    const label = curve.label && !compact ? el("bdi", {}, curve.label) : "";
    return el("span.item", {}, swatch(curve), label, valueOf(curve, place), notes.length ? el("span.faint", {}, notes.join(" ")) : "");
  });
  if (shown.length > most) made.push(el("span.item", {}, `and ${shown.length - most} more`));
  return made;
}

// The curves nearest to the pointer at one place, from the highest to the lowest.
export function nearestItems(curves, at, distance) {
  const places = new Map(named(curves).map((curve) => [curve, placeOf(curve, at)]));
  const value = (curve) => curve.values[places.get(curve)];
  const there = [...places.keys()].filter((curve) => known(value(curve)) && lastKnown(curve.values) >= at);
  const near = there.map((curve) => [distance(value(curve)), curve]).sort((a, b) => a[0] - b[0]).slice(0, NEAREST);
  const chosen = near.map(([, curve]) => curve).sort((a, b) => value(b) - value(a));
  const made = chosen.map((curve) => el("span.item", {}, swatch(curve), el("bdi", {}, curve.label), curve.note ? el("span.faint", {}, curve.note) : "", valueOf(curve, places.get(curve))));
  if (there.length > chosen.length) made.push(el("span.faint", {}, `and ${there.length - chosen.length} farther away`));
  return made;
}

export function describe(title, curves) {
  const parts = named(curves).slice(0, 4).map((curve) => {
    const place = lastKnown(curve.values);
    return place < 0 ? `${curve.label || title}: no values` : `${curve.label || title}: ${number(curve.values[place], 5)} last`;
  });
  return parts.join("; ");
}

function named(curves) {
  return curves.filter((curve) => !curve.quiet);
}

function swatch(curve) {
  const made = el("i", { title: curve.label ?? "" });
  made.style.background = `var(--${curve.colour})`;
  made.dataset.dash = !curve.dash?.length ? 0 : curve.dash[0] > 2 ? 1 : 2;
  return made;
}

function valueOf(curve, place) {
  const value = place < 0 ? null : curve.exact?.[place] ?? curve.values[place];
  const made = el("b", { title: exact(value) }, number(value, 6));
  made.dataset.value = exact(value);
  return made;
}

function lastKnown(values) {
  return values.findLastIndex(known);
}

// Where to read a curve at a place of x that only other runs have: at its own place before that.
function placeOf({ values }, at) {
  while (at >= 0 && values[at] === undefined) at--;
  return at;
}
