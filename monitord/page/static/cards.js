// What a run is and how it fares, beside its charts: errors, alerts, restarts, configuration.

import { duration, el, exact, flatten } from "./words.js";

export function cardsOf(detail) {
  const cards = [];
  const errors = Object.entries(detail.nonfinite).map(([name, epoch]) => [name, `first not finite at epoch ${epoch}`]);
  if (detail.trouble && detail.row.state !== "unreadable") errors.push(["results.json", detail.trouble]);
  if (["failed", "interrupted", "diverged", "unreadable"].includes(detail.row.state)) errors.unshift([detail.row.state, detail.row.reason]);
  if (errors.length) cards.push(card("Errors", table(errors, ".told")));
  if (detail.alerts.length) cards.push(card("Alerts", table(detail.alerts.map((alert) => [when(alert.at), `${alert.rule} (epoch ${alert.epoch}; ${alert.reason})`]), ".told")));
  if (detail.restarts.length || detail.earlier.length) {
    const restarts = detail.restarts.map((epoch, i) => [`restart ${i + 1}`, `from epoch ${epoch}`]);
    const earlier = detail.earlier.map((old, i) => [`earlier ${i + 1}`, `${old.n_epochs} epochs, the last ${old.last_epoch}`]);
    cards.push(card("Restarts", table([...restarts, ...earlier])));
  }
  const config = flatten(detail.config).filter(([name]) => name);
  cards.push(card("Configuration", config.length ? table(config) : el("p.absent", {}, typeof detail.config === "string" ? detail.config : "no config.json")));
  const facts = [...flatten(detail.facts), ...flatten(detail.environment ?? {})].filter(([name]) => name);
  cards.push(card("Environment", table([...facts.map(readable), ["folder", detail.folder]]), false));
  return cards;
}

function card(title, content, open = true) {
  return el("details.card", { open }, el("summary", {}, el("h2", {}, title)), content);
}

function table(pairs, look = "") {
  const line = ([name, value]) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, breakable(name))), el("td", {}, el("bdi", {}, String(value))));
  return el(`table.pairs${look}`, {}, el("tbody", {}, pairs.map(line)));
}

// A dotted name that a narrow column breaks after a dot or an underscore.
function breakable(name) {
  return name.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")]);
}

// Times as people read them: texts in ISO 8601, or seconds since 1970; durations with their unit.
function readable([name, text]) {
  if (name.endsWith("_at")) return [name, when(/^\d+(\.\d+)?$/.test(text) ? 1000 * Number(text) : text)];
  if (name.endsWith("_seconds") && Number.isFinite(Number(text))) return [name, duration(Number(text))];
  return [name, text];
}

function when(text) {
  const found = new Date(text);
  return Number.isNaN(found.getTime()) ? exact(text) : found.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
