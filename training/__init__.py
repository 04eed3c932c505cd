"""One run from its arguments to its saved generator."""
