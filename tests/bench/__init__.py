"""The pure parts of the measurements, and the wires that they use. Nothing is timed here."""
