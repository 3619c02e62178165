"""The ``tunnelmesh`` command."""


def main() -> int:
    """Run the command line; replaced as commands come."""
    raise SystemExit("tunnelmesh: no commands yet")
