"""What people and settings say, as values."""
