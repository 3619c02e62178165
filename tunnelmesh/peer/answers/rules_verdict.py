"""What the access rules allow between this machine and another, in words."""

from __future__ import annotations

from tunnelmesh.peer.access import Access
from tunnelmesh.peer.pair.remote import Remote


def sentences(own_name: str, remote: Remote, access: Access, now: float) -> list[str]:
    """Both directions, and what was dropped lately, the latest first; nothing without rules."""
    if not access.restricted:
        return []
    there, here = access.outbound(remote.address), access.inbound(remote.address)
    lines = [
        f"access rules: {own_name} may reach {remote.name}: {there}; "
        f"{remote.name} may reach {own_name}: {here}"
    ]
    refusals = {} if remote.guard is None else remote.guard.refusals
    for what, refusal in reversed(refusals.items()):
        packets, were = ("packet", "was") if refusal.packets == 1 else ("packets", "were")
        lines.append(
            f"{refusal.packets} {packets} ({what}) from {remote.name} {were} dropped by the access "
            f"rules, the last {now - refusal.last:.0f} s ago"
        )
    return lines
