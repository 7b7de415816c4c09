"""Stagegate: an inference engine for the Qwen2 family."""

from __future__ import annotations
