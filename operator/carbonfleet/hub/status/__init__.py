"""What the hub tells people: the status, conditions and events of jobs and spokes."""
