// Numbers and kinds as people read them.

export const KINDS = {
  udp: "UDP, direct",
  tcp: "TCP, direct",
  ssh: "SSH, relayed",
  websocket: "WebSocket, relayed",
};

export const isDirect = (kind) => kind === "udp" || kind === "tcp";

const NATS = {
  open: "open",
  firewall: "firewall",
  "full-cone": "full cone",
  "restricted-cone": "restricted cone",
  "port-restricted": "port-restricted",
  symmetric: "symmetric",
  "udp-blocked": "UDP blocked",
};

export const nat = (flavour) => NATS[flavour] ?? "not known";

function scaled(value, units) {
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

export const rate = (bytes) =>
  bytes >= 1 ? scaled(bytes * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]) : "idle";

export const size = (bytes) => scaled(bytes, ["B", "kB", "MB", "GB", "TB"]);

export const trip = (ms) => (ms === null || ms === undefined ? "–" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"]];

export function span(seconds) {
  for (const [length, unit] of STEPS) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

export const clock = (unix) =>
  new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const day = (unix) =>
  new Date(unix * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// An element with text and children. What peers say of themselves only ever becomes text.
export function make(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function swatch(kind) {
  const curved = isDirect(kind) ? "M1 5H35" : "M1 8Q18 -3 35 8";
  return make("svg:svg", { viewBox: "0 0 36 10", class: "swatch", "aria-hidden": "true" },
    make("svg:path", { class: `edge ${kind in KINDS ? kind : ""}`, d: curved }));
}

export function change(entry) {
  switch (entry.what) {
    case "online": return `${entry.name} came online`;
    case "offline": return `${entry.name} went offline`;
    case "gone": return `${entry.name} is no member any more`;
    case "joined": return `${entry.name} joined`;
    case "path": return `${entry.name} – ${entry.otherName}: ${KINDS[entry.before] ?? "?"} → ${KINDS[entry.after] ?? "?"}`;
    default: return `${entry.name}: ${entry.what}`;
  }
}
