"""The fleet repository: its layout, its manifests, and how it is written."""
