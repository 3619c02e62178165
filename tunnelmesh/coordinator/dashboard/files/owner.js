// What the mesh's owner does: inviting, cancelling invitations, removing machines.

import { make, say, span } from "./words.js";

export async function post(path, body = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    cache: "no-store",
  });
  const told = await answer.json().catch(() => ({ error: `HTTP status ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(told.error), { status: answer.status });
  return told;
}

const find = (id) => document.getElementById(id);

export class Owner {
  #live;
  #removing = "";
  #loading = null;
  #invitations = [];

  constructor(live) {
    this.#live = live;
    for (const dialog of document.querySelectorAll("dialog")) {
      for (const button of dialog.querySelectorAll("[data-close]")) {
        button.addEventListener("click", () => dialog.close());
      }
    }
    find("invite").addEventListener("click", () => this.#ask());
    find("invite-form").addEventListener("submit", (event) => this.#make(event));
    find("invite-copy").addEventListener("click", () => this.#copy());
    find("invite-dialog").addEventListener("close", () => this.#forget());
    find("remove-typed").addEventListener("input", () => this.#compare());
    find("remove-form").addEventListener("submit", (event) => this.#remove(event));
  }

  async load() {
    // Whatever asks in the meantime gets the same answer.
    this.#loading ??= fetch("invitations", { cache: "no-store" })
      .then((answer) => (answer.ok ? answer.json() : []), () => [])
      .finally(() => (this.#loading = null));
    this.#invitations = await this.#loading;
    this.draw();
  }

  draw() {
    const now = this.#live.now();
    const open = this.#invitations.filter((each) => each.expires > now);
    const lines = open.map((each) => {
      const uses = each.uses_left === 1 ? "1 machine" : `${each.uses_left} machines`;
      const words = `No. ${each.number}: ${uses}, ends in ${span(each.expires - now)}`;
      const cancel = async () => {
        await post("cancel", { number: each.number }).catch(() => {});
        this.load();
      };
      return make("li", { "data-number": each.number }, make("span", {}, words),
        make("button", { "aria-label": `Cancel invitation ${each.number}`, onclick: cancel }, "Cancel"));
    });
    if (!lines.length) lines.push(make("li", { class: "muted" }, "None."));
    const list = find("invitations");
    const same = list.childNodes.length === lines.length
      && lines.every((line, at) => line.isEqualNode(list.childNodes[at]));
    if (!same) list.replaceChildren(...lines);
  }

  #ask() {
    find("invite-ask").hidden = find("invite-make").hidden = false;
    find("invite-made").hidden = find("invite-copy").hidden = true;
    say(find("invite-error"), "");
    find("invite-dialog").showModal();
  }

  async #make(event) {
    event.preventDefault();
    const button = find("invite-make");
    button.disabled = true;
    try {
      const made = await post("invite", {
        uses: Number(find("invite-uses").value),
        seconds: Number(find("invite-seconds").value),
      });
      say(find("invite-command"), `tunnelmesh up --join ${made.token}`);
      find("invite-picture").src = `data:image/svg+xml,${encodeURIComponent(made.picture)}`;
      find("invite-ask").hidden = button.hidden = true;
      find("invite-made").hidden = find("invite-copy").hidden = false;
      say(find("invite-copy"), "Copy the command");
      find("invite-copy").focus();
      this.load();
    } catch (error) {
      say(find("invite-error"), `Not made: ${error.message}.`);
    } finally {
      button.disabled = false;
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(find("invite-command").textContent);
      say(find("invite-copy"), "Copied");
    } catch {
      getSelection().selectAllChildren(find("invite-command"));
      say(find("invite-copy"), "Selected: copy it now");
    }
  }

  #forget() {
    say(find("invite-command"), "");
    find("invite-picture").removeAttribute("src");
  }

  remove(name) {
    this.#removing = name;
    say(find("remove-name"), name);
    say(find("remove-error"), "");
    find("remove-typed").value = "";
    this.#compare();
    find("remove-dialog").showModal();
  }

  #compare() {
    find("remove-do").disabled = find("remove-typed").value.trim() !== this.#removing;
  }

  async #remove(event) {
    event.preventDefault();
    if (find("remove-do").disabled) return;
    try {
      await post("revoke", { name: this.#removing });
      find("remove-dialog").close();
    } catch (error) {
      say(find("remove-error"), `Not removed: ${error.message}.`);
    }
  }
}
