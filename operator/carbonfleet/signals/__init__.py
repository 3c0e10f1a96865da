"""Carbon and price signals: sources behind one protocol, with cache and fallback."""
