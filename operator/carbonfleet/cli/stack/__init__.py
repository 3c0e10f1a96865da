"""Commands that run everything on one machine."""
