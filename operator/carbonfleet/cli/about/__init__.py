"""Commands that tell of carbonfleet itself, and the types of what others write."""
