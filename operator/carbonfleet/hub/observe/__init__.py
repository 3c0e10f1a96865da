"""What the hub sees in one cycle: jobs, Git, spokes and their reports, as frozen values."""
