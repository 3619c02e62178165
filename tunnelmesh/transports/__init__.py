"""The interchangeable ways to carry datagrams: thin Twisted shells."""
