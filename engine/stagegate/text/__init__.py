"""Text to tokens and back: tokenizer, chat template, stops, calls of tools."""
