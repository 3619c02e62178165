"""Run a benchmark and keep what it prints, for the documentation's page of measurements.

``python -m bench.keep hard-nats matrix --hard --trials 20`` runs ``python -m bench.matrix --hard
--trials 20`` and writes ``docs/results/hard-nats.json``: the text, the command, the day and the
machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from argparse import REMAINDER, ArgumentParser
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Result:
    """What a benchmark said, and where and when.

    :ivar command: what to type for the same.
    :ivar load: the machine's load before, and after; a benchmark adds its own to the second.
    :ivar commit: of the code; with a plus sign if it was changed since.
    """

    command: str
    day: str
    machine: str
    load: tuple[float, float]
    commit: str
    text: str


def machine() -> str:
    """Processor, number of cores, kernel and Python; whose, since its build makes a fifth."""
    with open("/proc/cpuinfo") as lines:
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    whose = "the system's" if sys.base_prefix == "/usr" else "not the system's"
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores; "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()} ({whose})"
    )


def commit() -> str:
    """Which code this is."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "tunnelmesh", "bench"])
    return head.stdout.strip() + "+" * bool(changed.returncode)


def run(words: list[str]) -> Result:
    """Run a benchmark, showing what it prints.

    :raises SystemExit: if it fails.
    """
    before = os.getloadavg()[0]
    begun = commit()
    said = []
    arguments = [sys.executable, "-m", f"bench.{words[0]}", *words[1:]]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        for line in program.stdout:
            print(line, end="", flush=True)
            said.append(line)
    if program.returncode:
        raise SystemExit(f"bench.{words[0]} failed: nothing is kept")
    return Result(
        command=f"python -m bench.{' '.join(words)}",
        day=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        load=(round(before, 1), round(os.getloadavg()[0], 1)),
        commit=begun,
        text="".join(said),
    )


def main() -> None:
    parser = ArgumentParser(prog="python -m bench.keep", description=__doc__)
    parser.add_argument("name", help="of the result")
    parser.add_argument("words", nargs=REMAINDER, metavar="BENCHMARK …", help="and its options")
    options = parser.parse_args()
    if not options.words or not options.name.replace("-", "").isalnum():
        parser.error("give a name of letters, digits and hyphens, and a benchmark with its options")
    result = run(options.words)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{options.name}.json"
    file.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"kept in {file.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
