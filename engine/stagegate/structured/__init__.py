"""Grammars for structured output."""
