"""The file of access rules on the coordinator's disk, looked at again and again."""

from __future__ import annotations

import stat
from pathlib import Path

from twisted.logger import Logger

from tunnelmesh.errors import PolicyError
from tunnelmesh.policy.document import MAX_SIZE, Policy, parse

_log = Logger()


def read(path: Path) -> Policy:
    """Read a file of rules.

    :raises PolicyError: if it cannot be read, or has a mistake.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise PolicyError(f"{path}: is not a file")
        with path.open("rb") as stream:
            return parse(stream.read(MAX_SIZE + 1), str(path))
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from None


class PolicyFile:
    """A file of rules, and what of it is in force.

    :ivar policy: the last one without a mistake.
    :ivar mistake: what is wrong with the file as it is now; empty if nothing is.
    :raises PolicyError: if there is a mistake in the first place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mistake = ""
        self._seen = self._trace()
        self.policy = read(path)

    def look(self) -> bool:
        """Read the file if it has changed.

        :returns: whether the policy in force is another one now.
        """
        seen = self._trace()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            policy = read(self.path)
        except PolicyError as error:
            if str(error) != self.mistake:
                _log.error("{mistake}; the rules before stay in force", mistake=str(error))
            self.mistake = str(error)
            return False
        self.mistake = ""
        if policy == self.policy:
            return False
        self.policy = policy
        _log.info(
            "new access rules: {groups} groups, {entries} entries",
            groups=len(policy.groups),
            entries=len(policy.allow),
        )
        return True

    def _trace(self) -> tuple[int, ...]:
        """What changes with the file."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
