"""Finding out what the NAT is, and opening the way through it. Pure."""
