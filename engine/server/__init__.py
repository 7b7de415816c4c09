"""An HTTP server in the words of the OpenAI API: python -m engine serve."""
