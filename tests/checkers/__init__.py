"""Tests of chaos.checkers."""
