"""The changes to the tables of the store, one file for each version."""
