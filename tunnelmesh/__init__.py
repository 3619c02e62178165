"""TunnelMesh: two machines behind NAT reach each other, by name, always."""
