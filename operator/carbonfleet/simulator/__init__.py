"""Replay of recorded grids and queues through the same plan."""
