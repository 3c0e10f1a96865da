"""carbonfleet places LoRA training jobs where, and when, the electricity is clean."""
