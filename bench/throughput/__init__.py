"""Tunnels side by side: the same wire, the same programs, in turns. See ``__main__``."""
