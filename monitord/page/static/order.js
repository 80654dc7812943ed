// In which order runs stand in the table, and how the address says that and the filter.

import { COLUMNS, valueOf } from "./lines.js";

export const USUAL_SORT = { name: "state", down: false };
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

// Runs in order; those without a value come last in either direction.
export function ordered(runs, { name, down }, states) {
  const order = new Map(states.map((state, i) => [state, i]));
  const sign = down ? -1 : 1;
  const value = name === "state" ? (run) => order.get(run.state) : (run) => valueOf(run, name);
  return runs.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    const missing = (one === null) - (other === null);
    if (missing) return missing;
    const difference = typeof one === "string" ? collator.compare(one, other) : one - other;
    return sign * difference || collator.compare(a.name, b.name);
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
