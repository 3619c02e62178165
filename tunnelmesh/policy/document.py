"""The file of access rules, as people write it: TOML.

::

    [groups]
    admins = ["laptop", "desk"]
    servers = ["homelab", "nas"]

    [[allow]]
    from = ["admins"]
    to = ["*"]
    ports = ["*"]

    [[allow]]
    from = ["*"]
    to = ["servers"]
    ports = ["tcp/22", "udp/5000-5100", "icmp"]

Only what an entry allows is allowed. A word in ``from`` and ``to`` is ``*``, a group of the file,
or else a member's name. Members need not exist yet, so that a group that is misspelt looks like a
member to be: a word one letter away from a group's name is refused, unless some group lists it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from tunnelmesh.errors import PolicyError
from tunnelmesh.policy import ports
from tunnelmesh.wire.enrol import is_name

EVERYBODY = "*"

MAX_SIZE = 1 << 20
"""Longest file, in bytes."""

MOST = 512
"""Groups, entries, or ports of an entry: what a signal's lists may hold
(:data:`tunnelmesh.wire.schema.MAX_ITEMS`)."""

_KEYS = ("groups", "allow")
_ENTRY_KEYS = ("from", "to", "ports")


@dataclass(frozen=True, slots=True)
class Entry:
    """These may reach those, on these ports.

    :ivar sources: names of members and groups, or ``*``; likewise *targets*.
    :ivar ports: as :class:`~tunnelmesh.wire.administration.Rule` has them.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that is allowed.

    :ivar groups: the names of members, by the group's.
    """

    groups: Mapping[str, tuple[str, ...]]
    allow: tuple[Entry, ...]

    def members_of(self, word: str) -> tuple[str, ...]:
        """The members that a word means: a group's or itself. A group goes before a member of the
        same name, so that nobody gets a group's rights by taking its name."""
        return self.groups.get(word, (word,))

    @property
    def names(self) -> set[str]:
        """Every member that is spoken of."""
        names = {name for members in self.groups.values() for name in members}
        for entry in self.allow:
            names.update({*entry.sources, *entry.targets} - {EVERYBODY} - self.groups.keys())
        return names

    def doubts(self, members: Collection[str]) -> list[str]:
        """What may be a mistake, though it need not, given the names of all members."""
        doubts = [] if self.allow else ["nothing is allowed"]
        for name in sorted(self.names.difference(members)):
            near = _near(name, members)
            doubts.append(
                f"there is no member {name} yet{near}; whoever joins under this name may do what "
                "the rules say of it"
            )
        doubts += [
            f"{name} is a member and a group: in the rules it is the group"
            for name in sorted(self.groups.keys() & set(members))
        ]
        return doubts


def parse(data: bytes, file: str) -> Policy:
    """Read the file.

    :param file: its name, for errors.
    :raises PolicyError: naming the file, the place, and what may have been meant.
    """
    import tomllib  # not at the top: peers load this module too, and never read such a file

    if len(data) > MAX_SIZE:
        raise PolicyError(f"{file}: is longer than {MAX_SIZE} bytes")
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(f"{file}: is not TOML: {error}") from None
    try:
        _known(content, _KEYS, "the file")
        groups = _groups(content.get("groups", {}))
        if "allow" not in content:  # as in a file that an editor has only begun to write
            raise PolicyError("there is no [[allow]]; to allow nothing at all, write: allow = []")
        entries = content["allow"]
        if not isinstance(entries, list) or len(entries) > MOST:
            raise PolicyError(f"allow must be entries that begin with [[allow]], at most {MOST}")
        return Policy(groups, tuple(_entry(entry, n, groups) for n, entry in enumerate(entries, 1)))
    except PolicyError as error:
        raise PolicyError(f"{file}: {error}") from None


def _groups(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or len(value) > MOST:
        raise PolicyError(f"groups must be a table that begins with [groups], at most {MOST}")
    groups = {}
    for name, names in value.items():
        where = f"group {name[:63]}"
        if not is_name(name):
            raise PolicyError(f"{where}: a name is 1 to 63 small letters, digits and hyphens")
        groups[name] = tuple(_name(each, where) for each in _list(names, where))
    for name, names in groups.items():
        inner = next((each for each in names if each in groups), None)
        if inner is not None:
            raise PolicyError(f"group {name}: {inner} is a group, and a group holds members only")
    return groups


def _entry(value: Any, number: int, groups: Mapping[str, tuple[str, ...]]) -> Entry:
    where = f"allow entry {number}"
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must have from, to and ports")
    _known(value, _ENTRY_KEYS, where)
    missing = [key for key in _ENTRY_KEYS if key not in value]
    if missing:
        raise PolicyError(f"{where}: {missing[0]} is missing")
    listed = {name for names in groups.values() for name in names}
    ends = []
    for key in ("from", "to"):
        words = _list(value[key], f"{where}: {key}")
        ends.append(tuple(_word(word, f"{where}: {key}", groups, listed) for word in words))
    found: list[str] = []
    for each in _list(value["ports"], f"{where}: ports"):
        try:
            found += ports.read(each)
        except ValueError:
            raise PolicyError(
                f"{where}: ports: {str(each)[:40]!r} is none: write tcp/22, udp/5000-5100, 22 (TCP "
                "and UDP), tcp/*, icmp or *"
            ) from None
    found = _list(list(dict.fromkeys(found)), f"{where}: ports")
    return Entry(ends[0], ends[1], tuple(found))


def _word(
    value: object, where: str, groups: Mapping[str, tuple[str, ...]], listed: Collection[str]
) -> str:
    if value == EVERYBODY:
        return EVERYBODY
    name = _name(value, where)
    if name not in groups and name not in listed:
        near = next((group for group in groups if _misspelt(name, group)), None)
        if near is not None:
            raise PolicyError(
                f"{where}: there is no group {name} (did you mean {near}?); if it is a member, "
                "list it in some group, or call the group otherwise"
            )
    return name


def _misspelt(word: str, meant: str) -> bool:
    """Whether two words are one slip of the finger apart. Digits are never slips: of ``server1``
    and ``servers``, the one is hardly meant to be the other."""
    if [each for each in word if each.isdigit()] != [each for each in meant if each.isdigit()]:
        return False
    short, long = sorted((word, meant), key=len)
    same = next((n for n, each in enumerate(short) if each != long[n]), len(short))
    if len(short) < len(long):
        return short[same:] == long[same + 1 :]
    swapped = long[:same] + long[same : same + 2][::-1] + long[same + 2 :]
    return short[same + 1 :] == long[same + 1 :] or short == swapped


def _name(value: object, where: str) -> str:
    if isinstance(value, str) and is_name(value.lower()):
        return value.lower()
    raise PolicyError(f"{where}: {str(value)[:80]!r} is not a name")


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(f'{where}: must be a list, such as ["{str(value)[:40]}"]')
    if len(value) > MOST:
        raise PolicyError(f"{where}: has more than {MOST} items")
    return value


def _known(table: Mapping[str, object], keys: Collection[str], where: str) -> None:
    for key in table:
        if key not in keys:
            hint = _near(key, keys) or f"; it has {', '.join(keys)}"
            raise PolicyError(f"{key[:40]!r} is not a key of {where}{hint}")


def _near(word: str, words: Collection[str]) -> str:
    near = get_close_matches(word, words, 1, 0.6)
    return f" (did you mean {near[0]}?)" if near else ""
