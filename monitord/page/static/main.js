// The page: which view is shown, the head of the page, the keyboard.

import { Live } from "./live.js";
import { Overview } from "./overview.js";
import { el, MARKS } from "./words.js";

const live = new Live();
const place = document.getElementById("view");
const overview = new Overview(live, keepAddress);
const app = { live, overview, go: (hash) => (location.hash = hash) };
let view = null;
let shown = null; // the hash that the view belongs to

// Reload, Back and bookmarks bring the table back as it was left.
function keepAddress() {
  document.querySelector(".brand").href = overview.address;
  if (view !== overview || (location.hash || "#/") === overview.address) return;
  history.replaceState(null, "", overview.address);
  shown = location.hash;
}

async function show() {
  if (view && location.hash === shown && live.status !== "refused") return;
  const [, kind, rest = "", query = ""] = /^#?\/?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(location.hash);
  view?.leave();
  view = null;
  shown = location.hash;
  if (kind === "token" || live.status === "refused") {
    place.replaceChildren(tokenForm());
    return;
  }
  if (!kind) {
    view = overview;
  } else {
    // the chart library and what uses it: only when there is something to draw
    const hash = shown; // another may be asked for while this one loads
    const module = await import(kind === "compare" ? "./compare.js" : "./run.js");
    if (shown !== hash || view) return;
    const ids = rest.split(",").filter((id) => /^[0-9a-f]{16}$/.test(id));
    view = kind === "compare" ? new module.Compare(app, ids) : new module.RunView(app, ids[0] ?? "");
  }
  place.replaceChildren(view.root);
  view.enter(query);
  drawHead();
  if (kind) place.focus({ preventScroll: true });
  place.scrollTop = 0;
}

function tokenForm() {
  const input = el("input", { type: "password", name: "token", id: "token", autocomplete: "off", required: true });
  return el("form.notice", { action: "/", method: "get" },
    el("h1", {}, "A token is needed"),
    el("p", {}, "Open the address that monitord printed, or paste its token here."),
    el("label", { htmlFor: "token" }, "Token"), input, el("button", { type: "submit" }, "Open"));
}

function drawHead() {
  const counts = new Map();
  for (const row of live.rows.values()) counts.set(row.state, (counts.get(row.state) ?? 0) + 1);
  const made = live.states.filter((name) => counts.has(name)).map((name) => {
    const mark = el("span.mark", { "aria-hidden": "true" }, MARKS[name]);
    const button = el("button.count", {
      type: "button",
      title: `show only ${name} runs`,
      onclick: () => { overview.setFilter(`state=${name}`); app.go(overview.address); },
    }, mark, ` ${counts.get(name)} `, el("span", {}, name));
    button.dataset.state = name;
    button.setAttribute("aria-label", `${counts.get(name)} ${name}: show only these`);
    return button;
  });
  document.getElementById("counts").replaceChildren(...made);
  const title = document.getElementById("title");
  title.textContent = live.title;
  title.title = live.title;
  nameTab(counts.get("running") ?? 0);
}

function nameTab(running) {
  document.title = [view?.subject, running ? `${running} running` : null, "monitord"].filter(Boolean).join(" – ");
}

function drawStatus() {
  const words = { live: "live", connecting: "connecting", lost: "connection lost", refused: "no token" };
  const sign = document.getElementById("connection");
  sign.textContent = words[live.status];
  sign.dataset.status = live.status;
  const banner = document.getElementById("banner");
  banner.hidden = live.status !== "lost" && !live.trouble;
  banner.dataset.kind = live.status === "lost" ? "lost" : "trouble";
  banner.textContent = live.status === "lost"
    ? "Connection lost. What you see may be old; trying again by itself. Is ssh -L still open, and monitord running?"
    : live.trouble ?? "";
}

function openHelp() {
  const help = document.getElementById("help");
  const keys = [
    ["/", "search or filter"], ["↑ ↓", "move between runs"], ["Enter", "open the run"],
    ["Space or x", "select the run; Shift and a click: all from the last one to it"], ["c", "compare the selected runs"], ["Esc", "back to all runs"],
    ["← →", "in a chart: read values; with the slider: other epochs"], ["?", "this help"],
  ];
  const filters = [
    ["seed7", "name contains seed7"], ["state=running,slow", "one of these states"],
    ["lr=0.02 blobs>=3", "both must hold"], ["test.scaled_loss<9", "last value of any series"],
    ["min.test.scaled_loss<9", "least value over all epochs"],
  ];
  const list = (pairs) => el("dl", {}, pairs.map(([a, b]) => [el("dt", {}, el("kbd", {}, a)), el("dd", {}, b)]));
  help.replaceChildren(
    el("h2", { id: "help-title" }, "Keys"), list(keys), el("h2", {}, "Filters, as for --filter"), list(filters),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  help.showModal();
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, dialog");
  // a list that was chosen from takes letters, but neither a slash nor Escape
  if (typing || (event.target.closest?.("select") && !["/", "?", "Escape"].includes(event.key))) return;
  if (event.key === "/") {
    event.preventDefault();
    if (view !== overview) {
      app.go(overview.address);
      show(); // at once: what is typed next belongs to the search
    }
    overview.focusSearch();
  } else if (event.key === "?") openHelp();
  else if (event.key === "Escape" && view !== overview) app.go(overview.address);
  else view?.key?.(event);
}

live.addEventListener("rows", drawHead);
live.addEventListener("rows", drawStatus);
live.addEventListener("status", () => {
  drawStatus();
  if (live.status === "refused") show();
});
addEventListener("hashchange", show);
addEventListener("keydown", onKey);
document.addEventListener("help", openHelp);
show();
live.start();
