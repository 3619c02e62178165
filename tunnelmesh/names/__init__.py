"""``NAME.mesh`` resolves on this machine, by a DNS server of its own."""
