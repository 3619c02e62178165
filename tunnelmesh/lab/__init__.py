"""A NAT laboratory: real kernel NATs, and an internet simulated in memory."""
