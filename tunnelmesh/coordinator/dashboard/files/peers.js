// The peers as a table, and the one that was chosen in full.

import { KINDS, change, clock, day, isDirect, make, nat, rate, say, size, span, swatch, trip } from "./words.js";

const SHOWN_CHANGES = 12;

export class Peers {
  #live;
  #choose;
  #rows = new Map();
  #body = document.getElementById("peers");
  #filter = document.getElementById("filter");
  #sort = { by: "name", down: false };

  constructor(live, choose) {
    this.#live = live;
    this.#choose = choose;
    this.#filter.addEventListener("input", () => this.#arrange());
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.sort));
    }
  }

  update(news, totals) {
    for (const [id, row] of this.#rows) {
      if (this.#live.peers.has(id)) continue;
      row.line.remove();
      this.#rows.delete(id);
    }
    for (const [id, peer] of this.#live.peers) this.#draw(id, peer, totals.get(id));
    this.#arrange();
  }

  mark(chosen) {
    for (const [id, row] of this.#rows) {
      row.line.classList.toggle("chosen", id === chosen);
      row.name.setAttribute("aria-pressed", String(id === chosen));
    }
  }

  #draw(id, peer, total = NOTHING) {
    let row = this.#rows.get(id);
    if (!row) {
      const name = make("button", { class: "plain", "aria-pressed": "false" });
      const cells = ["", "", "wide", "", "number"].map((kind) => make("td", { class: kind }));
      const address = make("span", { class: "address" }, id);
      const state = make("span", { class: "presence" });
      cells[0].append(name, address);
      cells[1].append(state);
      const line = make("tr", { "data-id": id, onclick: () => this.#choose(id) }, ...cells);
      row = { line, name, state, cells, key: {} };
      this.#rows.set(id, row);
    }
    say(row.name, peer.name);
    row.state.classList.toggle("online", peer.online);
    say(row.state, presence(peer, this.#live.now()));
    say(row.cells[2], nat(peer.nat));
    say(row.cells[3], counted(total));
    say(row.cells[4], rate(total.rate));
    row.key = {
      name: peer.name,
      state: peer.online ? -1 : this.#live.now() - (peer.seen ?? 0),
      nat: nat(peer.nat),
      paths: -(total.direct * 1000 + total.relayed),
      traffic: -total.rate,
      text: `${peer.name} ${id} ${nat(peer.nat)} ${peer.online ? "online" : "offline"} ${[...total.kinds].map((kind) => KINDS[kind]).join(" ")}`.toLowerCase(),
    };
  }

  #sortBy(by) {
    this.#sort = { by, down: this.#sort.by === by && !this.#sort.down };
    for (const button of document.querySelectorAll("[data-sort]")) {
      const way = this.#sort.down ? "descending" : "ascending";
      if (button.dataset.sort === by) button.parentElement.setAttribute("aria-sort", way);
      else button.parentElement.removeAttribute("aria-sort");
    }
    this.#arrange();
  }

  #arrange() {
    const words = this.#filter.value.trim().toLowerCase();
    const { by, down } = this.#sort;
    const order = (a, b) => {
      const [one, other] = [a.key[by], b.key[by]];
      const first = one < other ? -1 : one > other ? 1 : 0;
      return (down ? -first : first) || a.key.name.localeCompare(b.key.name, undefined, { numeric: true });
    };
    const names = (a, b) => a.key.name.localeCompare(b.key.name, undefined, { numeric: true }) * (down ? -1 : 1);
    const sorted = [...this.#rows.values()].sort(by === "name" ? names : order);
    let place = this.#body.firstChild;
    let shown = 0;
    for (const row of sorted) {
      row.line.hidden = !row.key.text.includes(words);
      shown += !row.line.hidden;
      if (row.line === place) place = place.nextSibling;
      else this.#body.insertBefore(row.line, place);
    }
    document.getElementById("none").hidden = shown > 0 || !words;
  }
}

const NOTHING = { direct: 0, relayed: 0, rate: 0, kinds: new Set() };

// What goes on at each peer, from the rows of the paths.
export function totals(paths) {
  const found = new Map();
  for (const [key, row] of paths) {
    for (const id of key.split(" ")) {
      let total = found.get(id);
      if (!total) found.set(id, (total = { direct: 0, relayed: 0, rate: 0, kinds: new Set() }));
      if (isDirect(row.kind)) total.direct += 1;
      else total.relayed += 1;
      total.rate += row.rates[0] + row.rates[1];
      total.kinds.add(row.kind);
    }
  }
  return found;
}

function counted({ direct, relayed }) {
  const parts = [];
  if (direct) parts.push(`${direct}\u00a0direct`);
  if (relayed) parts.push(`${relayed}\u00a0relayed`);
  return parts.join(", ") || "–";
}

function presence(peer, now) {
  if (peer.online) return "online";
  return peer.seen ? `${span(now - peer.seen)} ago` : "never seen";
}

export class Detail {
  #live;
  #choose;
  #remove;
  #id = null;
  #section = document.getElementById("detail");
  #parts = null;

  constructor(live, choose, remove) {
    this.#live = live;
    this.#choose = choose;
    this.#remove = remove;
  }

  show(id) {
    this.#id = id;
    this.#parts = null;
    this.#section.replaceChildren();
    this.update();
    if (id !== null && matchMedia("(max-width: 1060px)").matches) {
      this.#section.scrollIntoView({ block: "start" });
      this.#section.focus({ preventScroll: true });
    }
  }

  update() {
    const peer = this.#id === null ? undefined : this.#live.peers.get(this.#id);
    this.#section.hidden = !peer;
    if (!peer) return;
    this.#parts ??= this.#build(peer);
    const parts = this.#parts;
    say(parts.name, peer.name);
    say(parts.state, peer.online ? "online" : `offline${peer.seen ? `, last seen ${day(peer.seen)}` : ""}`);
    parts.state.classList.toggle("online", peer.online);
    const facts = [
      ["Address", `${this.#id}, ${peer.address6}`],
      ["NAT", peer.online ? nat(peer.nat) + (peer.external ? `, seen as ${peer.external}` : "") : ""],
      ["Link", peer.online ? link(peer) : ""],
      ["Runs", peer.userspace ? "without a network device" : ""],
      ["Key", peer.fingerprint],
      ["Joined", day(peer.enrolled)],
    ];
    const list = facts.filter(([, value]) => value)
      .flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]);
    replace(parts.facts, list);
    this.#drawPaths(parts);
    const mine = this.#live.changes.filter((entry) => entry.who === this.#id || entry.other === this.#id);
    replace(parts.changes, mine.slice(-SHOWN_CHANGES).reverse().map(changeLine));
    parts.noChanges.hidden = mine.length > 0;
  }

  #build() {
    const [name, state] = [make("h2", { id: "detail-name" }), make("span", { class: "presence" })];
    const close = make("button", { "aria-label": "Close", onclick: () => this.#choose(null) }, "×");
    const facts = make("dl");
    const paths = make("tbody");
    const table = make("table", {},
      make("thead", {}, make("tr", {}, make("th", {}, "To"), make("th", {}, "Path"),
        make("th", { class: "number" }, "Round trip"), make("th", { class: "number wide" }, "Sends"),
        make("th", { class: "number wide" }, "Receives"))), paths);
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Paths" }, table);
    const noPaths = make("p", { class: "muted" }, "None that anybody uses.");
    const changes = make("ol", { class: "list" });
    const noChanges = make("p", { class: "muted" }, "Nothing since the coordinator has been running.");
    const id = this.#id;
    const remove = make("button", { class: "danger", onclick: () => this.#remove(this.#live.peers.get(id)?.name) },
      "Remove from the mesh…");
    this.#section.append(
      make("header", {}, make("div", {}, name, state), make("span", { class: "grow" }), close),
      facts, make("h3", {}, "Paths"), scroll, noPaths, make("h3", {}, "Recently"), changes, noChanges,
      make("p", { class: "foot" }, remove));
    return { name, state, facts, paths, scroll, noPaths, changes, noChanges };
  }

  #drawPaths(parts) {
    const lines = [];
    for (const [key, row] of this.#live.paths) {
      const ends = key.split(" ");
      const me = ends.indexOf(this.#id);
      if (me < 0) continue;
      const other = this.#live.peers.get(ends[1 - me]);
      lines.push([other?.name ?? ends[1 - me], ends[1 - me], row, me]);
    }
    lines.sort((a, b) => a[0].localeCompare(b[0], undefined, { numeric: true }));
    replace(parts.paths, lines.map(([name, id, row, me]) => {
      const [mine, theirs] = [row.kinds[me], row.kinds[1 - me]];
      const both = !mine || !theirs || mine === theirs;
      const words = both ? KINDS[row.kind] : `${KINDS[mine]} (back: ${KINDS[theirs]})`;
      const carried = (way) => make("td", { class: "number wide", title: `${size(row.bytes[way])} so far` }, rate(row.rates[way]));
      return make("tr", {},
        make("td", {}, make("button", { class: "plain", onclick: () => this.#choose(id) }, name)),
        make("td", {}, make("span", { class: "kind" }, swatch(row.kind), words)),
        make("td", { class: "number" }, trip(row.rtt)), carried(me), carried(1 - me));
    }));
    parts.scroll.hidden = lines.length === 0;
    parts.noPaths.hidden = lines.length > 0;
  }
}

function link(peer) {
  const kind = peer.link === "ssh" ? "SSH" : "WebSocket";
  const more = [peer.rtt === null ? "" : trip(peer.rtt), peer.from ? `from ${peer.from}` : "",
    peer.proxied ? "through a proxy" : "", peer.relayOnly ? "relay only" : ""];
  return [kind, ...more.filter(Boolean)].join(", ");
}

export function changeLine(entry) {
  return make("li", {}, make("span", {}, change(entry)),
    make("time", { datetime: new Date(entry.at * 1000).toISOString(), title: day(entry.at) }, clock(entry.at)));
}

// Puts new children in, unless they say the same: what has the focus, or is being read, stays.
function replace(parent, children) {
  const same = parent.childNodes.length === children.length
    && children.every((child, at) => child.isEqualNode(parent.childNodes[at]));
  if (same) return;
  const focused = parent.contains(document.activeElement)
    ? [...parent.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  parent.replaceChildren(...children);
  if (focused >= 0) parent.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
}
