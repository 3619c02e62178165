// The mesh as a picture: peers on a ring in the order of their addresses, so that each stays where
// it is; the coordinator in the middle. Direct paths are chords, relayed ones bend through it.

import { KINDS, isDirect, make, rate, say, trip } from "./words.js";

const MOST_EDGES = 1500; // more cannot be told apart, and slow the browser down
const MOST_NOTABLE = 4000; // with those that carry something, or are the chosen peer's
const SAMPLES = 14; // points of an edge that the pointer's distance is taken to
const NEAR = 9; // pixels

// Control points of a direct path: a chord that bows a little to the middle. One straight across
// goes around the coordinator, lest it look as if it went through it.
function chord(a, b) {
  const length = Math.hypot(a.x - b.x, a.y - b.y) || 1;
  const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const distance = Math.hypot(middle.x, middle.y);
  const rest = 1 - 0.3 * (length / Math.hypot(length, 2 * distance)) ** 2;
  const bow = distance < length * 0.1
    ? { x: middle.x + 0.2 * (a.y - b.y), y: middle.y + 0.2 * (b.x - a.x) }
    : { x: middle.x * rest, y: middle.y * rest };
  const towards = (end) => ({ x: end.x + (bow.x - end.x) * (2 / 3), y: end.y + (bow.y - end.y) * (2 / 3) });
  return [towards(a), towards(b)];
}

export class Picture {
  #live;
  #choose;
  #svg = document.getElementById("picture");
  #box = document.getElementById("canvas");
  #tip = document.getElementById("tip");
  #layers = {};
  #nodes = new Map();
  #edges = new Map();
  #order = [];
  #chosen = null;
  #hovered = null;
  #dirty = false;

  constructor(live, choose) {
    this.#live = live;
    this.#choose = choose;
    for (const name of ["ring", "spokes", "edges", "hub", "nodes"]) {
      this.#layers[name] = this.#svg.appendChild(make("svg:g", { class: `layer-${name}` }));
    }
    this.#layers.ring.append(make("svg:circle", { class: "ring" }));
    this.#layers.hub.append(make("svg:g", { class: "hub", "aria-hidden": "true" },
      make("svg:rect", { x: -9, y: -9, width: 18, height: 18, rx: 5 }),
      make("svg:text", { y: 24 }, "coordinator")));
    new ResizeObserver(() => this.#layOut()).observe(this.#box);
    this.#svg.addEventListener("pointermove", (event) => this.#pointed(event));
    this.#svg.addEventListener("pointerleave", () => this.#unpointed());
    this.#svg.addEventListener("click", (event) => {
      if (!event.target.closest(".node")) this.#choose(null);
    });
    this.#svg.addEventListener("keydown", (event) => this.#key(event));
  }

  choose(id) {
    this.#chosen = id;
    if (this.#edges.size < this.#live.paths.size) this.#drawEdges(this.#live.paths.keys());
    this.#highlight();
  }

  update(news) {
    const known = this.#order.length === this.#live.peers.size
      && news.peers.every((id) => this.#nodes.has(id) && this.#live.peers.has(id));
    if (news.whole || !known) this.#membersChanged();
    for (const id of news.peers) this.#drawNode(id);
    if (news.whole) {
      for (const edge of this.#edges.values()) edge.path.remove();
      this.#edges.clear();
    }
    if (news.whole || news.paths.length) this.#drawEdges(news.whole ? [...this.#live.paths.keys()] : news.paths);
    this.#highlight();
  }

  #membersChanged() {
    const peers = this.#live.peers;
    for (const [id, node] of this.#nodes) {
      if (peers.has(id)) continue;
      node.group.remove();
      node.spoke.remove();
      this.#nodes.delete(id);
    }
    const number = (id) => id.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
    this.#order = [...peers.keys()].sort((a, b) => number(a) - number(b));
    for (const id of this.#order) {
      if (!this.#nodes.has(id)) this.#nodes.set(id, this.#newNode(id));
      this.#layers.nodes.append(this.#nodes.get(id).group); // in the order of the arrow keys
      this.#drawNode(id);
    }
    this.#layOut();
  }

  #newNode(id) {
    const text = make("svg:text");
    const group = make("svg:g", { class: "node", role: "button", tabindex: "-1", "data-id": id },
      make("svg:circle", { class: "hit", r: 13 }), make("svg:circle", { class: "dot" }), text);
    group.addEventListener("click", () => this.#choose(id === this.#chosen ? null : id));
    group.addEventListener("pointerenter", () => this.#hover(id));
    group.addEventListener("pointerleave", () => this.#hover(null));
    group.addEventListener("focus", () => this.#hover(id));
    group.addEventListener("blur", () => this.#hover(null));
    const spoke = this.#layers.spokes.appendChild(make("svg:line", { class: "spoke" }));
    return { group, spoke, text, x: 0, y: 0 };
  }

  #drawNode(id) {
    const node = this.#nodes.get(id);
    const peer = this.#live.peers.get(id);
    if (!node || !peer) return;
    say(node.text, peer.name);
    node.group.classList.toggle("offline", !peer.online);
    node.group.setAttribute("aria-label", `${peer.name}, ${peer.online ? "online" : "offline"}`);
    node.spoke.style.display = peer.online ? "" : "none";
  }

  #layOut() {
    const { clientWidth: width, clientHeight: height } = this.#box;
    const count = this.#order.length;
    if (!width || !height) return;
    this.#svg.setAttribute("viewBox", `${-width / 2} ${-height / 2} ${width} ${height}`);
    const longest = Math.max(4, ...this.#order.map((id) => Math.min(18, this.#live.peers.get(id)?.name.length ?? 0)));
    // Names stand upright where there is room, then along the rays, then only where one looks.
    const upright = count <= 28;
    const room = upright ? Math.min(longest * 6.8 + 12, width * 0.26) : longest * 5.9 + 14;
    let rx = Math.max(60, width / 2 - room - 6);
    let ry = Math.max(60, height / 2 - (upright ? 30 : room) - 6);
    rx = Math.min(rx, ry * 1.18);
    ry = Math.min(ry, rx * 1.4);
    let spacing = (2 * Math.PI * Math.min(rx, ry)) / Math.max(1, count);
    const packed = !upright && spacing < 9.5;
    if (packed) {
      rx = ry = Math.min(width, height) / 2 - 26;
      spacing = (2 * Math.PI * rx) / count;
    }
    this.#svg.classList.toggle("crowded", !upright);
    this.#svg.classList.toggle("packed", packed);
    const size = Math.max(2.5, Math.min(7, spacing * 0.32));
    const ring = this.#layers.ring.firstChild;
    ring.setAttribute("r", 1);
    ring.setAttribute("transform", `scale(${rx} ${ry})`);
    ring.setAttribute("vector-effect", "non-scaling-stroke");
    this.#order.forEach((id, number) => {
      const node = this.#nodes.get(id);
      const angle = (2 * Math.PI * number) / count - Math.PI / 2;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      node.x = rx * cos;
      node.y = ry * sin;
      node.group.setAttribute("transform", `translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`);
      node.group.querySelector(".dot").setAttribute("r", size);
      node.group.querySelector(".hit").setAttribute("r", Math.max(size + 3, Math.min(16, spacing / 2)));
      const out = size + 7;
      const left = cos < -0.02;
      if (upright) {
        const top = Math.abs(cos) < 0.28;
        node.text.setAttribute("text-anchor", top ? "middle" : left ? "end" : "start");
        node.text.setAttribute("transform", top
          ? `translate(0 ${sin < 0 ? -out - 6 : out + 8})` : `translate(${left ? -out : out} 0)`);
      } else {
        const degrees = (angle * 180) / Math.PI;
        const flat = packed ? (left ? 180 : 0) : degrees + (left ? 180 : 0);
        node.text.setAttribute("text-anchor", packed ? (left ? "start" : "end") : left ? "end" : "start");
        node.text.setAttribute("transform", packed
          ? `translate(${left ? out : -out} 0)` : `rotate(${flat}) translate(${left ? -out : out} 0)`);
      }
      for (const [name, value] of [["x1", 0], ["y1", 0], ["x2", node.x], ["y2", node.y]]) {
        node.spoke.setAttribute(name, value);
      }
    });
    for (const [key, edge] of this.#edges) this.#shape(key, edge);
    document.getElementById("empty").hidden = count > 0;
    const stop = this.#nodes.get(this.#chosen) ?? this.#nodes.get(this.#order[0]);
    for (const node of this.#nodes.values()) node.group.setAttribute("tabindex", node === stop ? "0" : "-1");
  }

  #drawEdges(keys) {
    for (const key of keys) {
      const row = this.#live.paths.get(key);
      let edge = this.#edges.get(key);
      if (!row) {
        edge?.path.remove();
        this.#edges.delete(key);
        continue;
      }
      if (!edge) {
        const notable = row.rates[0] + row.rates[1] > 0 || key.split(" ").includes(this.#chosen);
        if (this.#edges.size >= (notable ? MOST_NOTABLE : MOST_EDGES)) continue;
        edge = { path: this.#layers.edges.appendChild(make("svg:path", { "data-pair": key })), kind: "" };
        this.#edges.set(key, edge);
      }
      const kind = row.kind in KINDS ? row.kind : "";
      const busy = row.rates[0] + row.rates[1];
      const [a, b] = key.split(" ");
      edge.path.setAttribute("class", `edge ${kind}${busy ? " busy" : ""}`);
      edge.path.style.strokeWidth = this.#width(busy);
      edge.ends = [a, b];
      if (isDirect(kind) !== isDirect(edge.kind) || !edge.points) {
        edge.kind = kind;
        this.#shape(key, edge);
      }
      edge.kind = kind;
    }
    const leftOut = this.#live.paths.size - this.#edges.size;
    const words = document.getElementById("left-out");
    words.hidden = leftOut <= 0;
    say(words, `${leftOut} more paths are not drawn`);
  }

  #width(bytes) {
    const crowd = this.#order.length > 60 ? 0.45 : this.#order.length > 16 ? 0.75 : 1;
    return (crowd * Math.min(8, 1.9 + (bytes < 1000 ? 0 : 0.95 * Math.log10(bytes / 1000)))).toFixed(2);
  }

  #shape(key, edge) {
    const [a, b] = key.split(" ").map((id) => this.#nodes.get(id));
    if (!a || !b) return;
    let controls;
    if (isDirect(edge.kind)) {
      controls = chord(a, b);
    } else {
      controls = [a, b].map((end) => ({ x: -0.1 * end.x, y: -0.1 * end.y }));
    }
    const at = (point) => `${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
    edge.path.setAttribute("d", `M${at(a)}C${at(controls[0])} ${at(controls[1])} ${at(b)}`);
    edge.points = [];
    for (let step = 1; step < SAMPLES; step++) {
      const t = step / SAMPLES, u = 1 - t;
      const mix = (axis) => u * u * u * a[axis] + 3 * u * u * t * controls[0][axis]
        + 3 * u * t * t * controls[1][axis] + t * t * t * b[axis];
      edge.points.push(mix("x"), mix("y"));
    }
  }

  #highlight() {
    const id = this.#hovered ?? this.#chosen;
    const picked = id !== null && this.#nodes.has(id);
    this.#svg.classList.toggle("picked", picked);
    const near = new Set();
    for (const edge of this.#edges.values()) {
      const mine = picked && edge.ends.includes(id);
      edge.path.classList.toggle("near", mine);
      if (mine) for (const end of edge.ends) near.add(end);
    }
    for (const [each, node] of this.#nodes) {
      node.group.classList.toggle("near", near.has(each) || each === id);
      node.group.classList.toggle("chosen", each === this.#chosen);
      node.group.setAttribute("aria-pressed", String(each === this.#chosen));
    }
  }

  #hover(id) {
    this.#hovered = id;
    this.#highlight();
  }

  #pointed(event) {
    if (this.#dirty || event.pointerType === "touch") return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      const box = this.#box.getBoundingClientRect();
      const x = event.clientX - box.left - box.width / 2;
      const y = event.clientY - box.top - box.height / 2;
      const found = event.target.closest?.(".node") ? null : this.#nearest(x, y);
      this.#tip.hidden = !found;
      if (!found) return;
      say(this.#tip, this.#describe(found));
      const flip = x > box.width * 0.15;
      this.#tip.style.left = flip ? "" : `${x + box.width / 2 + 14}px`;
      this.#tip.style.right = flip ? `${box.width / 2 - x + 14}px` : "";
      this.#tip.style.top = `${Math.min(y + box.height / 2 + 10, box.height - 70)}px`;
    });
  }

  #unpointed() {
    this.#tip.hidden = true;
  }

  #nearest(x, y) {
    let best = NEAR * NEAR, found = null;
    for (const [key, edge] of this.#edges) {
      const points = edge.points ?? [];
      for (let at = 0; at < points.length; at += 2) {
        const dx = points[at] - x, dy = points[at + 1] - y, square = dx * dx + dy * dy;
        if (square < best) [best, found] = [square, key];
      }
    }
    return found;
  }

  #describe(key) {
    const row = this.#live.paths.get(key);
    if (!row) return "";
    const [a, b] = key.split(" ").map((id) => this.#live.peers.get(id)?.name ?? id);
    const speed = row.rates[0] + row.rates[1];
    return `${a} – ${b}\n${KINDS[row.kind] ?? row.kind}, round trip ${trip(row.rtt)}\n${rate(speed)}`;
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const id = event.target.closest(".node")?.dataset.id;
    if (event.key === "Escape") return this.#choose(null);
    if (id === undefined) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(id === this.#chosen ? null : id);
    } else if (step) {
      event.preventDefault();
      const next = this.#order[(this.#order.indexOf(id) + step + this.#order.length) % this.#order.length];
      this.#nodes.get(id).group.setAttribute("tabindex", "-1");
      this.#nodes.get(next).group.setAttribute("tabindex", "0");
      this.#nodes.get(next).group.focus();
    }
  }
}
