"""Write the tables of docs/settings.md anew: ``python docs/_ext/settings_reference.py``.

They are made from the fields of the configuration, so that the page says what the program does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from tunnelmesh.config import Config, CoordinatorConfig, PeerConfig, settings

PAGE = Path(__file__).parent.parent / "settings.md"

ROLES = {"both": Config, "peer": PeerConfig, "coordinator": CoordinatorConfig}

_SECTION = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->\n)", re.S)


def page(text: str) -> str:
    """The page with the tables that the program of today asks for."""
    return _SECTION.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def table(name: str) -> str:
    """The settings that one role adds to those of both, as a Markdown table."""
    role = ROLES[name]
    known: Iterable[str] = () if role is Config else settings(Config)
    rows = [row(key, field, role) for key, field in settings(role).items() if key not in known]
    return "| option | value | default | what |\n|---|---|---|---|\n" + "".join(rows)


def row(key: str, field: Field[Any], role: type[Config]) -> str:
    """One setting."""
    metavar = field.metadata["metavar"]
    kind = toml_type(get_type_hints(role)[field.name])
    value = f"`{metavar}`: {kind}" if metavar else kind
    return f"| `--{key}` | {value} | {default(field)} | {field.metadata['about']} |\n"


def toml_type(hint: Any) -> str:
    """What TOML value a setting takes."""
    kinds = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    if bool in kinds:
        return "true or false"
    if int in kinds and len(kinds) == 1:
        return "number"
    if get_origin(hint) is frozenset or kinds[-1] is ...:
        return "list of texts, or text"
    if tuple[str, int] in kinds:
        return "number or text"
    return "text"


def default(field: Field[Any]) -> str:
    """What holds without the setting."""
    if field.metadata["default"]:
        return str(field.metadata["default"])
    if field.default is MISSING:
        raise ValueError(f"{field.name}: say in words what its default is")
    if field.default in (None, (), frozenset()):
        return "none"
    return "false" if field.default is False else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
