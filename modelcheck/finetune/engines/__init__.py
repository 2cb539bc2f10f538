"""What answers prompts. One engine for both sides of a comparison."""
