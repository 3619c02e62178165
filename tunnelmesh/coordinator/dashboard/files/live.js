// What the coordinator tells: all of it at first, then what changes. Connects again by itself.

const SILENCE = 25_000; // ms; it says something every 10 s
const AGAIN = [500, 1000, 2000, 4000, 8000];

export class Live {
  peers = new Map();
  paths = new Map();
  changes = [];
  #offset = 0;
  #tries = 0;
  #socket = null;
  #silence = 0;

  // changed({peers: [id], paths: [key], whole}); live(isLive); refused() when signed out.
  constructor(changed, live, refused) {
    Object.assign(this, { changed, live, refused });
    addEventListener("online", () => this.#now());
    document.addEventListener("visibilitychange", () => document.hidden || this.#now());
  }

  // The coordinator's time of day: this machine's may be wrong.
  now() {
    return Date.now() / 1000 + this.#offset;
  }

  open() {
    clearTimeout(this.#silence);
    const socket = (this.#socket = new WebSocket(`wss://${location.host}/dashboard/live`));
    socket.onmessage = (event) => {
      this.#listen();
      this.#tries = 0;
      this.live(true);
      this.#take(JSON.parse(event.data));
    };
    socket.onclose = (event) => socket === this.#socket && this.#lost(event.code);
    this.#listen();
  }

  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      const socket = this.#socket;
      this.#socket = null;
      socket.close();
      this.#lost(0);
    }, SILENCE);
  }

  async #lost(code) {
    clearTimeout(this.#silence);
    this.#socket = null;
    this.live(false);
    if (code === 4401) return this.refused();
    const wait = AGAIN[Math.min(this.#tries++, AGAIN.length - 1)] * (0.8 + 0.4 * Math.random());
    this.#silence = setTimeout(() => this.#again(), wait);
  }

  async #again() {
    // A WebSocket does not say why it was refused; this does.
    try {
      const answer = await fetch("session", { cache: "no-store", signal: AbortSignal.timeout(8000) });
      if (answer.status === 401) return this.refused();
      this.open();
    } catch {
      this.#lost(0);
    }
  }

  #now() {
    if (this.#socket === null && this.#tries) {
      clearTimeout(this.#silence);
      this.#again();
    }
  }

  #take(told) {
    if (told.now) this.#offset = told.now - Date.now() / 1000;
    if (told.whole) {
      this.peers.clear();
      this.paths.clear();
      this.changes = [];
    }
    for (const [kept, news] of [[this.peers, told.peers], [this.paths, told.paths]]) {
      for (const [key, row] of Object.entries(news ?? {})) {
        if (row === null) kept.delete(key);
        else kept.set(key, row);
      }
    }
    this.changes = [...this.changes, ...(told.changes ?? [])].slice(-400);
    this.changed({
      whole: Boolean(told.whole),
      peers: Object.keys(told.peers ?? {}),
      paths: Object.keys(told.paths ?? {}),
      changes: (told.changes ?? []).length > 0 || Boolean(told.whole),
    });
  }
}
