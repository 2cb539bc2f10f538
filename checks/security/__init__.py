"""Rules about a checkpoint as a download, which may be hostile."""

from .template_resource_bomb import template_resource_bomb

__all__ = ["template_resource_bomb"]
