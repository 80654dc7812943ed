// In which order runs stand in the table, and how the address says that and the filter.

import { COLUMNS, valueOf } from "./lines.js";

export const USUAL_SORT = { name: "state", down: false };
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const DECIMAL = /(?<![\d.])(\d+)\.(\d{1,18})(?![\d.])/g;

// A text by which lr0.003 comes before lr0.02: parts behind a point are as long as each other.
const key = (text) => text.replace(DECIMAL, (_, whole, part) => `${whole}.${part.padEnd(18, "0")}`);

// Runs in order; those without a value come last in either direction.
export function ordered(runs, { name, down }, states) {
  const order = new Map(states.map((state, i) => [state, i]));
  const sign = down ? -1 : 1;
  const value = name === "state" ? (run) => order.get(run.state) : (run) => valueOf(run, name);
  const names = new Map(runs.map((run) => [run, key(run.name)]));
  return runs.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    const missing = (one === null) - (other === null);
    if (missing) return missing;
    const difference = typeof one === "string" ? collator.compare(key(one), key(other)) : one - other;
    return sign * difference || collator.compare(names.get(a), names.get(b));
  });
}

// The table's address: #/?filter=...&sort=-epoch, or #/ alone where nothing was chosen.
export function addressOf(filter, sort) {
  const usual = sort.name === USUAL_SORT.name && sort.down === USUAL_SORT.down;
  if (!filter && usual) return "#/";
  return `#/?${new URLSearchParams({ ...(filter ? { filter } : {}), sort: `${sort.down ? "-" : ""}${sort.name}` })}`;
}

// What the part of an address behind the question mark asks for; sort is null where it says nothing.
export function askedBy(query) {
  const asked = new URLSearchParams(query);
  const [, minus, name] = /^(-?)(.*)$/s.exec(asked.get("sort") ?? "");
  const sort = COLUMNS.some((column) => column.name === name) ? { name, down: minus === "-" } : null;
  return { filter: asked.get("filter") ?? "", sort };
}
