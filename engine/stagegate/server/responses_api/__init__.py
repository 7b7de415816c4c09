"""/v1/responses, OpenAI's Responses API, implemented on top of chat completions."""
