"""Bundled problem worlds, where every step can be checked, and the small models trained on them."""
