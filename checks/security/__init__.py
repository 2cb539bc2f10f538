"""Rules about a checkpoint is a download, and some downloads are hostile."""

from .index_escapes_folder import index_escapes_folder

__all__ = ["index_escapes_folder"]
