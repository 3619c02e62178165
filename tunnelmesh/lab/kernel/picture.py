"""A world drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .host import Host
from .site import Site

if TYPE_CHECKING:
    from .world import World


def picture(world: World) -> str:
    """Draw who is behind what, with addresses, kinds and troubles, one line each."""
    inside = {id(host) for site in world.sites.values() for host in site.hosts}
    public = [host for host in world.hosts.values() if id(host) not in inside]
    sites = [site for site in world.sites.values() if site.behind is None]
    return "\n".join(["internet", *_branches(world, [*public, *sites])])


def _branches(world: World, items: list[Host | Site], indent: str = "") -> Iterator[str]:
    for item in items:
        last = item is items[-1]
        label = f"{indent}{'└─' if last else '├─'} {item.name}"
        yield f"{label:<24} {_about(item)}"
        if isinstance(item, Site):
            inner = [site for site in world.sites.values() if site.behind is item]
            below = indent + ("   " if last else "│  ")
            yield from _branches(world, [*item.hosts, *inner], below)


def _about(item: Host | Site) -> str:
    if isinstance(item, Host):
        return "  ".join([*item.addresses, *item.addresses6])
    notes = [f"{item.outside:<15}", item.kind.name]
    if item.ipv6:
        notes.append("with IPv6")
    if item.blocks:
        notes.append("blocks " + ", ".join(map(str, item.blocks)))
    if item.proxy:
        notes.append(f"proxy {item.proxy}")
    return "  ".join(notes)
