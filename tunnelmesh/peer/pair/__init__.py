"""One remote peer: the session with it, the paths to it, and the search for better ones."""
