"""Jobs under way: which are decided on again, and moves to which people must agree."""
