"""Mending tensors, their names and their index."""
