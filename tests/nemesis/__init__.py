"""Tests of the nemesis."""
