"""The link to the coordinator, over whatever gets out."""
