"""An internet in memory, under one clock."""
