"""The rules that keep the house livable, read from its import statements."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = Path(__file__).parent.parent / "tunnelmesh"

PURE = {"wire", "bulk", "noise", "nat", "paths", "policy"}
"""Time, randomness and bytes come in as arguments here, and what to do comes out."""

IMPURE = {
    "asyncio",
    "autobahn",
    "os",
    "random",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
    "treq",
    "twisted",
    "zope",
}

FLOORS = [
    {"wire"},
    {"bulk"},
    {"noise", "nat", "paths", "policy"},
    {"transports", "tun", "streams", "names"},
    {"peer", "coordinator"},
    {"tap"},
    {"lab", "cli"},
]
"""From the ground up. What is not here are single modules that every floor may import."""

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imports(source: str, module: str) -> Iterator[str]:
    """The modules, or names in them, that a module imports when it runs, as dotted names."""
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                todo.extend(node.orelse)
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                above = module.split(".")[: -node.level] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                yield from (f"{base}.{alias.name}" for alias in node.names)
            case _:
                todo.extend(ast.iter_child_nodes(node))


def complaint(importer: str, imported: str) -> str | None:
    """What is wrong with one module importing another, if anything."""
    here = importer.split(".")[1]
    root, _, rest = imported.partition(".")
    if root != "tunnelmesh":
        if here in PURE and root in IMPURE and imported != "random.Random":
            return f"{importer} imports {imported}, but does no I/O"
        return None
    there = rest.split(".")[0]
    if here in PURE and there not in PURE | {"errors"}:
        return f"{importer} imports {imported}, but does no I/O"
    if here in FLOOR and there in FLOOR and here != there:
        above, below = FLOOR[here], FLOOR[there]
        if above <= below and here not in FLOORS[-1]:
            return f"{importer} imports {imported}, which is not below it"
    if here not in FLOOR and there in FLOOR and there not in PURE:
        return f"{importer} imports {imported}, but everyone imports {importer}"
    return None


def modules() -> Iterator[tuple[str, str]]:
    """Every module of the package: its dotted name and its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts), path.read_text()


class LayerTests(SynchronousTestCase):
    """Imports point down, and the lower floors do no I/O."""

    def test_house(self) -> None:
        """No module of the package breaks a rule."""
        found = list(modules())
        self.assertGreater(len(found), 10)
        complaints = [
            text
            for module, source in found
            for imported in imports(source, module)
            if (text := complaint(module, imported))
        ]
        self.assertEqual(complaints, [])

    def test_floors_exist(self) -> None:
        """Each name on a floor is a package or module: a renamed one must not escape the rules."""
        names = {path.stem for path in PACKAGE.iterdir()}
        self.assertEqual(set(FLOOR) - names - {"streams"}, set())

    def test_imports_are_found(self) -> None:
        """All forms of import are read, but not those for a type checker only."""
        source = """
import os.path, time as clock
from . import frame
from ..errors import DecodeError
if TYPE_CHECKING:
    import socket
def f():
    from random import random
"""
        self.assertEqual(
            set(imports(source, "tunnelmesh.wire.stun")),
            {
                "os.path",
                "time",
                "tunnelmesh.wire.frame",
                "tunnelmesh.errors.DecodeError",
                "random.random",
            },
        )

    def test_complaints(self) -> None:
        """Each rule is able to complain, and lets the ordinary pass."""
        for importer, imported, wrong in [
            ("tunnelmesh.wire.stun", "twisted.python.failure.Failure", True),
            ("tunnelmesh.wire.stun", "os.path", True),
            ("tunnelmesh.wire.stun", "random.Random", False),
            ("tunnelmesh.wire.stun", "hashlib", False),
            ("tunnelmesh.wire.stun", "tunnelmesh.errors.DecodeError", False),
            ("tunnelmesh.wire.stun", "tunnelmesh.config.load", True),
            ("tunnelmesh.wire.stun", "tunnelmesh.nat.punch", True),
            ("tunnelmesh.nat.punch", "tunnelmesh.wire.stun", False),
            ("tunnelmesh.nat.punch", "tunnelmesh.paths.health", True),
            ("tunnelmesh.transports.udp", "tunnelmesh.peer.service", True),
            ("tunnelmesh.peer.service", "tunnelmesh.coordinator.service", True),
            ("tunnelmesh.peer.service", "tunnelmesh.lab.kernel", True),
            ("tunnelmesh.peer.service", "tunnelmesh.identity", False),
            ("tunnelmesh.lab.sim", "tunnelmesh.cli.demo", False),
            ("tunnelmesh.cli.demo", "tunnelmesh.lab.kernel", False),
            ("tunnelmesh.identity", "tunnelmesh.peer.service", True),
            ("tunnelmesh.identity", "tunnelmesh.wire.endpoint", False),
            ("tunnelmesh.tap", "tunnelmesh.peer.service", False),
        ]:
            self.assertEqual(complaint(importer, imported) is not None, wrong, (importer, imported))
