"""What trains. Each offers `build`, `train` and what the audits read."""
