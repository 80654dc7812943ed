// The connection: all rows, kept current by one stream of changes that goes on where it ended.

const QUIET_MS = 25_000; // beats come every 10 s: longer silence is a dead connection
const HIDDEN_MS = 5_000;
const PAUSES_MS = [300, 700, 1500, 3000, 5000];
const PAGE = 2000;
const ASK_MS = 30_000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, parameters = []) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await fetch(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(ASK_MS), credentials: "same-origin" });
  const found = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, found.error ?? answer.statusText);
  return found;
}

export class Live extends EventTarget {
  rows = new Map();
  alerts = [];
  states = [];
  title = "";
  trouble = null;
  n_all = 0;
  loaded = false;
  status = "connecting"; // live, lost, refused
  offset_s = 0; // the server's clock minus ours
  #cursor = null;
  #source = null;
  #heard = 0;
  #tries = 0;
  #timer = 0;
  #hiding = 0;
  #turn = 0; // of opening: whoever comes back from waiting and finds another gives up

  start() {
    setInterval(() => this.#watch(), 2000);
    document.addEventListener("visibilitychange", () => this.#rest());
    addEventListener("online", () => this.#again(0));
    this.#open();
  }

  now() {
    return Date.now() / 1000 + this.offset_s;
  }

  async #open() {
    clearTimeout(this.#timer);
    this.#close();
    const turn = this.#turn;
    try {
      if (this.#cursor === null) await this.#load(turn);
      else if (this.#tries > 1) await ask("/api/runs", { limit: 0 }); // a stream does not say why it is refused
      if (turn !== this.#turn) return;
    } catch (error) {
      if (turn !== this.#turn) return;
      if (error instanceof Refused && error.status === 401) return this.#tell("refused");
      return this.#lost();
    }
    this.#listen();
  }

  #close() {
    this.#turn++;
    this.#source?.close();
    this.#source = null;
  }

  async #load(turn) {
    let first = null;
    const rows = new Map();
    do {
      const part = await ask("/api/runs", { offset: rows.size, limit: PAGE });
      if (turn !== this.#turn) return;
      first ??= part;
      for (const row of part.runs) rows.set(row.id, row);
      if (!part.runs.length) break;
      if (rows.size >= part.n_matching) break;
    } while (rows.size < 100_000);
    this.offset_s = first.now - Date.now() / 1000;
    this.rows = rows;
    this.n_all = first.n_all;
    this.alerts = first.alerts;
    this.states = first.states;
    this.title = first.title;
    this.trouble = first.trouble;
    this.#cursor = first.cursor;
    this.loaded = true;
    this.dispatchEvent(new CustomEvent("rows", { detail: { all: true, changed: new Set(rows.keys()) } }));
  }

  #listen() {
    const source = new EventSource(`/api/events?cursor=${encodeURIComponent(this.#cursor)}`);
    this.#source = source;
    this.#heard = Date.now();
    source.onopen = () => {
      this.#heard = Date.now();
      this.#tries = 0;
      this.#tell("live");
    };
    source.onerror = () => this.#source === source && this.#lost();
    source.addEventListener("beat", (event) => {
      this.#heard = Date.now();
      this.offset_s = Number(event.data) - Date.now() / 1000;
    });
    source.addEventListener("changes", (event) => {
      this.#heard = Date.now();
      this.#take(JSON.parse(event.data));
    });
    source.addEventListener("reset", () => {
      this.#cursor = null; // another server, or away for too long
      this.#open();
    });
  }

  #take(changes) {
    this.#cursor = changes.cursor;
    this.n_all = changes.n_all;
    this.trouble = changes.trouble;
    this.offset_s = changes.now - Date.now() / 1000;
    const changed = new Set(changes.gone);
    let all = false;
    for (const row of changes.rows) {
      all ||= !this.rows.has(row.id);
      this.rows.set(row.id, row);
      changed.add(row.id);
    }
    for (const id of changes.gone) all = this.rows.delete(id) || all;
    if (changes.alerts.length) this.alerts = [...this.alerts, ...changes.alerts].slice(-200);
    this.dispatchEvent(new CustomEvent("rows", { detail: { all, changed, alerts: changes.alerts } }));
  }

  #lost() {
    this.#close();
    this.#tell("lost");
    this.#again(PAUSES_MS[Math.min(this.#tries++, PAUSES_MS.length - 1)]);
  }

  #again(pause_ms) {
    if (this.#source !== null || this.status === "refused") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => document.hidden || this.#open(), pause_ms);
  }

  #watch() {
    if (this.#source !== null && Date.now() - this.#heard > QUIET_MS) this.#lost();
  }

  // A browser opens six connections to one server: pages that nobody sees give theirs back.
  #rest() {
    clearTimeout(this.#hiding);
    if (!document.hidden) {
      if (this.#source === null) this.#again(0);
      return;
    }
    this.#hiding = setTimeout(() => this.#close(), HIDDEN_MS);
  }

  #tell(status) {
    if (status === this.status) return;
    this.status = status;
    this.dispatchEvent(new CustomEvent("status"));
  }
}

// The numbers of a run under some names; each refresh brings what is new since the last.
export class Points {
  epochs = [];
  values = new Map();
  nonfinite = new Map();
  began = null; // seconds since 1970
  restarts = [];
  born = null;
  data = null; // of the row that these numbers belong to
  #cursor = "";
  #busy = null;

  constructor(id, names) {
    this.id = id;
    this.names = names;
  }

  get(name) {
    return this.values.get(name) ?? [];
  }

  // Answers true if there was anything new. One at a time; a second call waits for the first.
  async refresh(data = null) {
    while (this.#busy) await this.#busy;
    if (data !== null && data === this.data) return false;
    this.#busy = this.#fetch();
    try {
      const fresh = await this.#busy;
      this.data = data;
      return fresh;
    } finally {
      this.#busy = null;
    }
  }

  async #fetch() {
    let fresh = false;
    for (let more = true; more; ) {
      const query = this.names.map((name) => ["name", name]);
      if (this.#cursor) query.push(["cursor", this.#cursor]);
      const part = await ask(`/api/runs/${encodeURIComponent(this.id)}/series`, query);
      fresh = this.#merge(part) || fresh;
      this.#cursor = part.cursor;
      more = part.more;
    }
    return fresh;
  }

  #merge(part) {
    if (part.reset) {
      this.epochs = [];
      this.values.clear();
      this.nonfinite.clear();
    }
    this.began = part.began;
    this.restarts = part.restarts;
    this.born = part.born;
    const names = Object.keys(part.values);
    for (const name of names) {
      if (!this.values.has(name)) this.values.set(name, new Array(this.epochs.length).fill(null));
    }
    part.epochs.forEach((epoch, i) => {
      const [place, there] = this.#place(epoch);
      if (!there) {
        this.epochs.splice(place, 0, epoch);
        for (const column of this.values.values()) column.splice(place, 0, null);
      }
      for (const name of names) this.values.get(name)[place] = part.values[name][i];
    });
    for (const name of names) {
      const marks = this.nonfinite.get(name) ?? new Set();
      for (const epoch of part.epochs) marks.delete(epoch);
      for (const epoch of part.nonfinite[name] ?? []) marks.add(epoch);
      if (marks.size) this.nonfinite.set(name, marks);
      else this.nonfinite.delete(name);
    }
    return part.reset || part.epochs.length > 0;
  }

  #place(epoch) {
    const epochs = this.epochs;
    let low = 0;
    let high = epochs.length;
    if (high && epochs[high - 1] < epoch) return [high, false];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (epochs[middle] < epoch) low = middle + 1;
      else high = middle;
    }
    return [low, epochs[low] === epoch];
  }
}
