"""Policies and embedders that someone else serves: what a server can do, how it is asked, what came back."""
