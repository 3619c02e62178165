Two machines behind NAT find each other through a coordinator, punch through, and carry IP packets in WireGuard's protocol; where punching cannot work, the coordinator relays.
