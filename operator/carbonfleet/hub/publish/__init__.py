"""What the hub changes outside: intents for Git, finalizers, and proposals that people review."""
