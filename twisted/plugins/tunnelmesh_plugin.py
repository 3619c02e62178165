"""Tell ``twistd`` about TunnelMesh.

Nothing of the project is imported here: an import error in a plugin file would show up only as
"Unknown command: tunnelmesh".
"""

from twisted.application.service import ServiceMaker

tunnelmesh = ServiceMaker(  # type: ignore[no-untyped-call]
    "TunnelMesh",
    "tunnelmesh.tap",
    "A coordinator, or a peer, of a mesh of machines behind NAT.",
    "tunnelmesh",
)
