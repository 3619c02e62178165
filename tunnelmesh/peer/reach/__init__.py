"""How this machine may be reached: its addresses, the NAT and the router in front of it."""
