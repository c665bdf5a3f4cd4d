"""Configs: a package, so that pkg://mylab.conf finds them."""
