"""LoRA training that can be stopped at any moment and goes on exactly where it was; imports nothing of carbonfleet."""
