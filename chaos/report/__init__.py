"""Rendering of histories and verdicts, and nothing else: text, pictures, JUnit, JSON, the live view."""
