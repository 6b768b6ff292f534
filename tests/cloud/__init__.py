"""Tests of `chaos.cloud`."""
