"""The fixers, one file for each family of rules."""
