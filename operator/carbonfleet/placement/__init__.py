"""The heart: what to run where and when, as a function of values."""
