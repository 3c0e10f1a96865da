"""Hyperparameter sweeps: manifests from a grid, and their leaderboard."""
