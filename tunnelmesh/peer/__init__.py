"""The service that runs on each machine of the mesh."""
