"""What the running peer answers to commands."""
