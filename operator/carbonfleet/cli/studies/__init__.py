"""Commands that ask what would be, or what would have been, saved."""
