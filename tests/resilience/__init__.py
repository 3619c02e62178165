"""Real peers on real kernel NATs, while the network around them changes or is hostile."""
