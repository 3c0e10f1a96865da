"""Commands for sweeps, for serving their best adapters, and for asking these."""
