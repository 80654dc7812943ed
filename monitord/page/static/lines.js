// A run's line in the table of all runs: which columns there are, and what stands in them.

import { duration, el, exact, fixed, isTrain, number, spark, state } from "./words.js";

const NAME_END = 18; // as many letters as a phone has room for
const MOVING = new Set(["running", "slow", "diverged"]);

export const COLUMNS = [
  { name: "state", title: "State", text: true },
  { name: "name", title: "Run", text: true },
  { name: "epoch", title: "Epoch" },
  { name: "loss_last", title: "Test loss" },
  { name: "loss_best", title: "Best", wide: true },
  { name: "train_last", title: "Train loss", wide: true },
  { name: "n_blobs", title: "Blobs" },
  { name: "separation", title: "Separation", wide: true },
  { name: "silhouette", title: "Silhouette", wide: true },
  { name: "correlation", title: "Correlation", wide: true },
  { name: "left_s", title: "Time left", wide: true },
];

// What a column sorts by: a loss that is not of the test is no test loss.
export function valueOf(run, name) {
  return name === "loss_last" ? testLoss(run) : run[name];
}

export function testLoss(run) {
  return isTrain(run.loss_name) ? null : run.loss_last;
}

// A loss that went away: an epoch was recorded, but its loss is not a finite number.
export function isNan(run) {
  return run.loss_name !== null && run.loss_last === null && run.epoch > 0;
}

function loss(run) {
  if (!isTrain(run.loss_name) && isNan(run)) return el("td.number.loss_last.nan", { title: `not finite at epoch ${run.epoch}` }, "nan");
  return el("td.number.loss_last", { title: isTrain(run.loss_name) ? "no test loss" : exact(run.loss_last) }, number(testLoss(run)));
}

// Fills the row of a line anew; `now` is the server's clock in seconds since 1970.
export function fillLine({ run, row, pick }, now) {
  pick.setAttribute("aria-label", `select ${run.name}`);
  const left = el("td.number.left_s.wide", {}, timeLeft(run, now));
  const best = run.loss_best === null ? "" : `${isTrain(run.loss_name) ? "train loss " : ""}${exact(run.loss_best)} at epoch ${run.loss_best_epoch}`;
  row.replaceChildren(
    el("td.pick", {}, pick),
    el("td.state", { title: run.reason }, state(run.state, false)),
    el("td.name", { title: run.name }, el("a", { href: `#/run/${run.id}`, tabIndex: -1, "aria-label": run.name }, nameParts(run.name))),
    epoch(run),
    loss(run),
    el("td.number.wide.loss_best", { title: best }, number(run.loss_best)),
    el("td.number.wide.train_last", { title: exact(run.train_last) }, number(run.train_last)),
    blobs(run),
    el("td.number.wide", { title: exact(run.separation) }, fixed(run.separation, 2)),
    el("td.number.wide", { title: exact(run.silhouette) }, fixed(run.silhouette, 3)),
    el("td.number.wide", { title: exact(run.correlation) }, fixed(run.correlation, 3)),
    left,
    el("td.loss.wide", {}, spark(run.spark)),
  );
  return { run, row, pick, left };
}

export function timeLeft(run, now) {
  return run.left_s === null || !MOVING.has(run.state) ? "–" : duration(run.left_s - (now - run.at));
}

// Long names are cut in their middle: what tells runs apart often stands at the end.
function nameParts(name) {
  const letters = Array.from(name);
  if (letters.length <= NAME_END + 4) return el("bdi", {}, name);
  return [el("bdi.begin", {}, letters.slice(0, -NAME_END).join("")), el("bdi.end", {}, letters.slice(-NAME_END).join(""))];
}

function epoch(run) {
  const share = run.n_planned ? Math.min(1, run.epoch / run.n_planned) : 0;
  const bar = share > 0 && share < 1 ? el("progress", { max: 1, value: share, "aria-hidden": "true" }) : "";
  return el("td.number.epoch", {}, String(run.epoch), el("span.faint", {}, run.n_planned ? `/${run.n_planned}` : ""), bar);
}

function blobs(run) {
  const words = run.n_blobs === null ? "–" : `${run.n_blobs_sampled ? "~" : ""}${run.n_blobs}`;
  const born = run.born === null ? "" : `since epoch ${run.born}`;
  const strong = run.n_blobs >= 3 && !run.n_blobs_sampled ? ".strong" : "";
  return el(`td.number.n_blobs${strong}`, { title: run.n_blobs_sampled ? "sampled count" : born }, words);
}
