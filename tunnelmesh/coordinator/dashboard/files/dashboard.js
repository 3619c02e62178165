// Signing in, and the page's parts put together.

import { Live } from "./live.js";
import { Owner, post } from "./owner.js";
import { Detail, Peers, changeLine, totals } from "./peers.js";
import { Picture } from "./picture.js";
import { isDirect, rate, say, span } from "./words.js";

const find = (id) => document.getElementById(id);
const SHOWN_CHANGES = 60;

// The secret is in the fragment, which no server, proxy or log ever sees; nor may the history.
const link = location.hash.slice(1);
if (link) history.replaceState(null, "", location.pathname);
addEventListener("hashchange", () => location.hash && location.reload()); // another link, pasted here

function atTheDoor(words, canSignIn = false) {
  find("mesh").hidden = true;
  find("door").hidden = false;
  say(find("door-words"), words);
  find("sign-in").hidden = !canSignIn;
  if (canSignIn) find("sign-in").focus();
}

const NOT_SIGNED_IN = "You are not signed in. Run 'tunnelmesh dashboard' on the coordinator's machine, and open the link that it prints.";

find("sign-in").addEventListener("click", async () => {
  find("sign-in").disabled = true;
  try {
    await post("sign-in", { link });
    enter();
  } catch (error) {
    atTheDoor(error.status ? error.message : "The coordinator does not answer. Open the link again in a moment.");
  }
});

let started = false;

function enter() {
  find("door").hidden = true;
  find("mesh").hidden = false;
  say(find("host"), location.hostname);
  if (started) return;
  started = true;
  run();
}

function run() {
  let chosen = null;
  let members = 0;
  let lostAt = 0;

  const live = new Live(
    (news) => {
      const counted = totals(live.paths);
      picture.update(news);
      peers.update(news, counted);
      detail.update();
      facts();
      if (news.changes) {
        find("changes").replaceChildren(...live.changes.slice(-SHOWN_CHANGES).reverse().map(changeLine));
      }
      if (news.whole || members !== live.peers.size) owner.load(); // somebody may have used one
      members = live.peers.size;
      if (chosen !== null && !live.peers.has(chosen)) choose(null);
      if (!performance.getEntriesByName("first-picture").length) performance.mark("first-picture");
    },
    (isLive) => {
      if (isLive) lostAt = 0;
      else lostAt ||= Date.now();
      document.body.classList.toggle("live", isLive);
      document.body.classList.toggle("stale", !isLive);
      say(find("state"), isLive ? "Live" : "Not live");
      tick();
    },
    () => atTheDoor(NOT_SIGNED_IN),
  );

  function choose(id) {
    chosen = id;
    picture.choose(id);
    peers.mark(id);
    detail.show(id);
  }

  const owner = new Owner(live);
  const picture = new Picture(live, choose);
  const peers = new Peers(live, choose);
  const detail = new Detail(live, choose, (name) => owner.remove(name));

  function facts() {
    let [online, direct, traffic, relayed] = [0, 0, 0, 0];
    for (const peer of live.peers.values()) online += peer.online;
    for (const row of live.paths.values()) {
      const speed = row.rates[0] + row.rates[1];
      traffic += speed;
      if (isDirect(row.kind)) direct += 1;
      else relayed += speed;
    }
    say(find("fact-online"), `${online} of ${live.peers.size}`);
    say(find("fact-direct"), live.paths.size ? `${direct} of ${live.paths.size}` : "none yet");
    say(find("fact-traffic"), rate(traffic));
    say(find("fact-relayed"), rate(relayed));
  }

  // Ages grow even when nothing happens.
  function tick() {
    find("stale").hidden = !lostAt;
    if (lostAt) say(find("stale-since"), `No word for ${span((Date.now() - lostAt) / 1000)}.`);
  }
  setInterval(tick, 1000);
  setInterval(() => {
    peers.update({}, totals(live.paths));
    owner.draw();
  }, 15_000);

  find("sign-out").addEventListener("click", async () => {
    await post("sign-out").catch(() => {});
    location.reload();
  });
  live.open();
}

if (link) {
  atTheDoor("This link signs this browser in to the dashboard, once.", true);
} else {
  const answer = await fetch("session", { cache: "no-store" }).catch(() => null);
  if (answer?.ok) enter();
  else if (answer?.status === 401) atTheDoor(NOT_SIGNED_IN);
  else atTheDoor("The coordinator does not answer. Reload the page in a moment.");
}
