"""Tests of `chaos.cli`."""
