"""The whole stack on one machine, for trying and testing."""
