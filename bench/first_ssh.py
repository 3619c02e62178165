"""From an empty machine to the first ``ssh`` through the mesh, by what the README says.

::

    python -m bench.first_ssh [--json]

Run as root, with OpenSSH's client and server. The commands are read from the README's blocks, and
typed in the kernel laboratory: on a server, and on two machines behind port-restricted NATs, each
with its own ``/etc``, ``/var/lib``, ``/run`` and homes. Counted are the commands, and the seconds
from the first one to what the remote shell answers. Making the virtual environment is timed apart:
it depends on the way to the package index.

Not as on real machines: systemd and systemd-resolved do not run in a namespace, so that small
scripts start the unit's program, and put the mesh's name server into ``resolv.conf``. Beforehand
there are an SSH key, a user ``me`` with it, and the answer to ssh's question about a new host.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tunnelmesh.lab.kernel import Host, World, available

ROOT = Path(__file__).parent.parent

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

BLOCK = re.compile(
    r"^(?P<place>\*{0,2}On [^\n]*)(?:\n[^`\n]+)*\n\n```console\n(?P<body>.*?)^```", re.M | re.S
)
"""A block of commands, and the words before it that say on which machines."""

EVERYWHERE, SERVER, JOINING, LAPTOP = "On every", "On a server", "On each", "On the laptop"

SYSTEMCTL = r"""#!/bin/bash
unit=/etc/systemd/system/${2:-none}
case $1 in
restart)
    export CREDENTIALS_DIRECTORY=/run/credentials
    mkdir -p "$CREDENTIALS_DIRECTORY"
    while IFS=: read -r name file; do cp "$file" "$CREDENTIALS_DIRECTORY/$name"; done \
        < <(sed -n s/^LoadCredential=//p "$unit")
    cd /
    eval "setsid $(sed -n s/^ExecStart=//p "$unit") > /run/log 2>&1 < /dev/null &"
    echo $! > "/run/$2.pid" ;;
is-active)
    kill -0 "$(cat "/run/$2.pid" 2>/dev/null)" 2>/dev/null && echo active || echo inactive ;;
esac
"""

RESOLVECTL = """#!/bin/sh
[ "$1" = dns ] && printf 'search mesh\\nnameserver %s\\n' "$3" > /etc/resolv.conf
exit 0
"""

MACHINE = r"""
set -e
mkdir "$1/etc" "$1/root" "$1/home"
cp -a /etc/. "$1/etc"
rm -rf "$1/etc/resolv.conf" "$1/etc/ssh/ssh_config.d"
touch "$1/etc/resolv.conf"
echo 'hosts: files dns' > "$1/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n%s vpn.example.org\n' "$2" > "$1/etc/hosts"
echo 'me:x:4242:4242::/home/me:/bin/sh' >> "$1/etc/passwd"
echo 'me:x:4242:' >> "$1/etc/group"
echo 'me:*:20000:0:99999:7:::' >> "$1/etc/shadow"
mkdir -m 700 "$1/root/.ssh"
cp "$3/key" "$1/root/.ssh/id_ed25519"
echo 'StrictHostKeyChecking accept-new' > "$1/root/.ssh/config"
install -d -o 4242 -g 4242 -m 700 "$1/home/me" "$1/home/me/.ssh"
install -o 4242 -g 4242 -m 600 "$3/key.pub" "$1/home/me/.ssh/authorized_keys"
for folder in etc root home; do mount --bind "$1/$folder" "/$folder"; done
mount --bind "$3/opt" /opt
mount --bind "$3/bin" /usr/local/bin
mount --bind "$3/sbin" /usr/local/sbin
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/sshd
echo ready
exec sleep infinity
"""
"""Gives a program, and all that enters it, files of their own: folder, server's address, what all
machines share."""

SSHD = r"""
/usr/sbin/sshd -D -e -f /dev/null -h /root/.ssh/id_ed25519 -o UsePAM=no -o PidFile=none
"""


def blocks(page: str) -> dict[str, list[str]]:
    """The README's commands by the machine that they are for."""
    found = {}
    for place, body in BLOCK.findall(page):
        typed = [line[2:].strip() for line in body.splitlines() if line[:2] in ("# ", "$ ")]
        found[place.strip("*")] = typed
    return {
        where: next((typed for place, typed in found.items() if place.startswith(where)), [])
        for where in (EVERYWHERE, SERVER, JOINING, LAPTOP)
    }


class Machine:
    """A host of the laboratory with files of its own."""

    def __init__(self, host: Host, folder: Path, server: str) -> None:
        own = folder / host.name
        own.mkdir()
        argv = ["bash", "-c", MACHINE, "machine", str(own), server, str(folder)]
        self.host = host
        self.program = host.popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.program.stdout is not None
        if self.program.stdout.readline() != "ready\n":
            raise SystemExit(f"{host.name}: no files of its own can be had here")

    def entering(self, line: str) -> list[str]:
        """The command line that types a line on the machine."""
        within = ["nsenter", "-t", str(self.program.pid), "-m", "-n", "--wd=/"]
        return [*within, "env", "-i", f"PATH={PATH}", "HOME=/root", "bash", "-c", line]

    def type(self, line: str, text: str = "") -> str:
        """Type a line, and what follows it, and give what is printed."""
        return run(self.entering(line), text, f"{self.host.name}: {line}")


def run(argv: list[str], text: str, what: str) -> str:
    """Run a command that has to succeed.

    :param text: its input.
    :returns: its output.
    """
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"{what}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install(folder: Path, commands: list[str]) -> float:
    """Make the virtual environment as the README says, in a clone, and give the seconds it took."""
    for name in ("opt", "bin", "sbin"):
        (folder / name).mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("resolvectl", RESOLVECTL)):
        (folder / "sbin" / name).write_text(script)
        (folder / "sbin" / name).chmod(0o755)
    clone = folder / "clone"
    run(["git", "clone", "--quiet", str(ROOT), str(clone)], "", "git clone")
    mounts = f"mount --bind {folder}/opt /opt; mount --bind {folder}/bin /usr/local/bin"
    script = "\n".join(["set -e", mounts, f"cd {clone}", f"export PATH={PATH}", *commands])
    began = time.monotonic()
    run(["unshare", "--mount", "bash", "-c", script], "", "the installation")
    return time.monotonic() - began


def first_ssh(folder: Path, commands: dict[str, list[str]]) -> tuple[float, list[str]]:
    """Type all but the installation, and give the seconds it took, and what was printed."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"], "", "ssh-keygen")
    with World("first") as world:
        hosts = [
            world.add_site(f"{n}-lan", "port-restricted").add_host(n) for n in ("homelab", "laptop")
        ]
        server, homelab, laptop = (
            Machine(host, folder, world.coordinator.address) for host in (world.coordinator, *hosts)
        )
        homelab.host.programs.append(
            subprocess.Popen(homelab.entering(f"exec {SSHD.strip()}"), stderr=subprocess.DEVNULL)
        )
        printed, token = [], ""

        def typed(machine: Machine, line: str, text: str = "") -> str:
            line = line.replace("TOKEN", token).replace(
                "--name=homelab", f"--name={machine.host.name}"
            )
            said = machine.type(line, text)
            printed.extend([f"{machine.host.name}$ {line}", *said.splitlines()])
            return said

        began = time.monotonic()
        for line in commands[SERVER]:
            token = typed(server, line).strip()
        for machine in (homelab, laptop):
            for line in commands[JOINING]:
                typed(machine, line)
        for line in commands[LAPTOP]:
            typed(laptop, line, "echo $USER reached from ${SSH_CONNECTION%% *}\n")
        took = time.monotonic() - began
        printed.extend(["", *laptop.type("tunnelmesh status; ping -c 2 homelab.mesh").splitlines()])
    return took, printed


def main() -> None:
    """Type the README, and say what it took."""
    parser = argparse.ArgumentParser(description="From an empty machine to the first ssh.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    missing = available() or (None if Path("/usr/sbin/sshd").exists() else "sshd is missing")
    if missing:
        sys.exit(f"cannot be measured here: {missing}")
    commands = blocks((ROOT / "README.md").read_text("utf-8"))
    if not all(commands.values()):
        sys.exit(f"README.md: no commands for {[k for k, v in commands.items() if not v]}")
    folder = Path(tempfile.mkdtemp(prefix="first-ssh-"))
    folder.chmod(0o755)
    try:
        installation = install(folder, commands[EVERYWHERE])
        took, printed = first_ssh(folder, commands)
    finally:
        shutil.rmtree(folder)
    everywhere, joining = len(commands[EVERYWHERE]), len(commands[JOINING])
    counts = {
        "server": everywhere + len(commands[SERVER]),
        "homelab": everywhere + joining,
        "laptop": everywhere + joining + len(commands[LAPTOP]),
    }
    result = {
        "commands": counts,
        "installation_s": round(installation, 1),
        "to_ssh_s": round(took, 1),
        "together_s": round(installation + took, 1),
    }
    if args.json:
        print(json.dumps(result))
        return
    print("\n".join(printed))
    print()
    for machine, count in counts.items():
        print(f"{machine:8} {count} commands")
    print(f"installation {installation:.1f} s (once on each machine), then to ssh {took:.1f} s")


if __name__ == "__main__":
    main()
