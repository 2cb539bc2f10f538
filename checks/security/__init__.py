"""Rules about a checkpoint is a download, and some downloads are hostile."""
