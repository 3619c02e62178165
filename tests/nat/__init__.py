"""Tests of the NAT machines."""
