"""Bytes to frozen dataclasses and back. Pure: hostile bytes raise only DecodeError."""
