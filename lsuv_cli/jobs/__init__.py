"""What each command does, from top to bottom."""
