"""What is worth being taken together, and the import of what does it (numpy: 0.2 s and 16 MB).

Anything less is taken one by one: nobody has much to send who sends that.
"""

from __future__ import annotations

FLIGHT = 4
"""Packets at once."""

MANY = 16
"""The same where they are of any flows: a large one would have come as super-packets."""

LARGE = 500
"""Bytes of each packet."""
