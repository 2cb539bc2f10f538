"""Front ends for other people's programs: pytest, trainers."""
