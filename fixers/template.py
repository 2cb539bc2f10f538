"""Mending chat templates."""
