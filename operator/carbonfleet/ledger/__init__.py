"""What was really emitted, kept append-only."""
