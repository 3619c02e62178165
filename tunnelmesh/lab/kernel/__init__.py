"""Kernel NATs in network namespaces."""
