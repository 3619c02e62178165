"""The encrypted session: the WireGuard protocol as sans-IO machines."""
