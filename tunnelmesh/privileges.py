"""Giving up a process's rights, once what needs them is open.

A network device, a low port and large socket buffers need rights; carrying packets needs none. A
peer that was started by root with ``--user``, or by another user with ``CAP_NET_ADMIN``, keeps
nothing of them after its start (capabilities(7), credentials(7)), so that whoever breaks into it
has the mesh and not the machine.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from tunnelmesh.errors import ConfigError

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
"""prctl(2)."""

_CAPABILITY_VERSION_3 = 0x20080522
"""The header of capset(2): two words a set, the same since Linux 2.6.26."""

_MOST_CAPABILITIES = 64
"""Bits in the two words; the kernel has some forty."""

_HAS_CAPABILITIES = sys.platform == "linux"

THREADS_SECONDS = 1.0
"""Seconds that an idle thread of the reactor's pool may take to end."""

_log = Logger()


@dataclass(frozen=True)
class Account:
    """Whom to become."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account(name: str | None) -> Account | None:
    """Find a user, and see that this process may become it.

    :param name: a user's name; None, or the user that this process runs as, is nobody to become.
    :raises ConfigError: if there is no such user, or that is not possible.
    """
    if name is None:
        return None
    if not _HAS_CAPABILITIES:
        raise ConfigError("--user is for Linux only")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"--user: there is no user {name[:40]!r}: make one with 'useradd --system', or give "
            "another"
        ) from None
    if entry.pw_uid == 0:
        raise ConfigError(f"--user must be one with fewer rights than {name}")
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ConfigError(f"only root can become {name}: start as root, or leave out --user")
    groups = os.getgrouplist(name, entry.pw_gid)
    return Account(name, entry.pw_uid, entry.pw_gid, tuple(groups))


def drop(to: Account | None, reactor: Any, state_dir: Path) -> None:
    """Become a user, or stay the one there is, and give up every right. Root without a user to
    become keeps its own.

    :param to: whom to become.
    :param state_dir: handed over to that user.
    :raises ConfigError: if it cannot be done; the process may have lost some rights by then.
    """
    if not _HAS_CAPABILITIES or (to is None and os.geteuid() == 0):
        return
    _end_threads(reactor)
    try:
        if to is not None:
            _hand_over(state_dir, to)
            os.setgroups(to.groups)
            os.setresgid(to.gid, to.gid, to.gid)
            _drop_bounding_set()
            os.setresuid(to.uid, to.uid, to.uid)
        _drop_capabilities()
    except OSError as error:
        who = "give up this process's rights" if to is None else f"become {to.name}"
        raise ConfigError(f"cannot {who}: {error.strerror or error}") from None
    if to is not None:
        _see_that_it_can_work(to, state_dir)
        _log.info("running as {name} from now on, without any rights", name=to.name)


def _see_that_it_can_work(to: Account, state_dir: Path) -> None:
    """Modules are loaded when they are needed, and keys are pinned at any time."""
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"{to.name} cannot get at {state_dir}: give another --state-dir")
    for module in ("tunnelmesh.privileges", "twisted"):
        folder = Path(str(sys.modules[module].__file__)).parent
        if not os.access(folder, os.R_OK | os.X_OK):
            raise ConfigError(
                f"{to.name} cannot read {folder}: install TunnelMesh where everybody can, such as "
                "/opt/tunnelmesh"
            )


def _hand_over(state_dir: Path, to: Account) -> None:
    """Give the state directory and what is in it to a user.

    Whoever had it before may have put links there, symbolic or hard, to what is not theirs: those
    stay as they are. The descriptor holds on to what was looked at.

    :raises ConfigError: if the directory is somebody else's, or a link leads to it: who put that
        there may have meant another directory of root's.
    """
    directory = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        real = os.readlink(f"/proc/self/fd/{directory}")
        if real != os.path.abspath(state_dir):
            raise ConfigError(f"{state_dir} is a link: with --user, give --state-dir={real}")
        if os.fstat(directory).st_uid not in (0, to.uid):
            owner = os.fstat(directory).st_uid
            raise ConfigError(
                f"{state_dir} belongs to another user (uid {owner}): give another --state-dir"
            )
        for name in os.listdir(f"/proc/self/fd/{directory}"):
            with suppress(FileNotFoundError):
                _give(name, directory, to)
        os.chown(f"/proc/self/fd/{directory}", to.uid, to.gid)
    finally:
        os.close(directory)


def _give(name: str, directory: int, to: Account) -> None:
    entry = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    try:
        status = os.fstat(entry)
        ours = stat.S_ISREG(status.st_mode) or stat.S_ISSOCK(status.st_mode)
        if ours and status.st_nlink == 1 and status.st_uid in (0, to.uid):
            os.chown(f"/proc/self/fd/{entry}", to.uid, to.gid)
    finally:
        os.close(entry)


def _end_threads(reactor: Any) -> None:
    """End the reactor's idle threads: they looked up names, and rights are each thread's own."""
    pool = reactor.threadpool
    if pool is None:
        return
    least, most = pool.min, pool.max
    pool.adjustPoolsize(0, 0)
    for thread in list(pool.threads):
        thread.join(THREADS_SECONDS)
        if thread.is_alive():
            _log.warn("a thread that looks up a name keeps this process's rights until it ends")
    pool.adjustPoolsize(least, most)


_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: Any, *arguments: object) -> None:
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _drop_bounding_set() -> None:
    """Nothing that is executed from here on can have a right."""
    for capability in range(_MOST_CAPABILITIES):
        try:
            _call(_libc.prctl, _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            return  # past the last that this kernel has, or not allowed: then the rest will do


def _drop_capabilities() -> None:
    """Leave this thread, and all that it starts, no capability, and no way to get one."""
    with suppress(OSError):  # a kernel before 4.3 has no ambient ones
        _call(_libc.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call(_libc.capset, _words((_CAPABILITY_VERSION_3, 0)), _words([0] * 6))
    _call(_libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _words(values: Iterable[int]) -> Any:
    given = tuple(values)
    return (ctypes.c_uint32 * len(given))(*given)
