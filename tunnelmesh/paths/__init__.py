"""Which way to use now. Pure."""
