"""The kernel's side of the tunnel: device, addresses, routes."""
