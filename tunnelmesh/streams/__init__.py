"""Streams between two peers inside their encrypted session, with or without network devices."""
