"""The OpenAI API: request bodies, answers, streams."""
