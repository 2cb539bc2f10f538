"""Rules about security: a checkpoint is a download, and some downloads are hostile."""

from .index_escapes_folder import index_escapes_folder
from .template_resource_bomb import template_resource_bomb

__all__ = ["index_escapes_folder", "template_resource_bomb"]
