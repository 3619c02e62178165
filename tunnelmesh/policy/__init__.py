"""Access rules: the file that people write, and what follows from it for each member. Pure."""
