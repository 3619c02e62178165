"""Tests of the mesh's part of the DNS."""
