"""Rules about the chat template, rendered."""
