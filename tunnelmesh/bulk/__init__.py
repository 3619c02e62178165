"""Super-packets: up to 64 KB of one TCP or UDP flow under a single header, as the kernel's offloads
hand them over. Pure: hostile bytes raise only DecodeError."""
