"""Other programs' own ways to use carbonfleet; nothing of carbonfleet imports them."""
