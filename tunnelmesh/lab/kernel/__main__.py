"""``python -m tunnelmesh.lab.kernel COMMAND…``: run a command where an ordinary user has a lab."""

from __future__ import annotations

import os
import sys

from ...errors import LabError
from .rights import reenter


def main(argv: list[str]) -> int:
    """Run *argv*, as it is for root, inside a user namespace of its own for everybody else."""
    if not argv:
        print("usage: python -m tunnelmesh.lab.kernel COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    try:
        if os.geteuid() != 0:
            reenter(argv)
        os.execvp(argv[0], argv)
    except (LabError, OSError) as error:
        print(f"tunnelmesh lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
