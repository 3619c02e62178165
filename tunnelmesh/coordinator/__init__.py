"""The service that runs on a public address and introduces the peers."""
