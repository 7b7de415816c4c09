"""/v1/responses, OpenAI's other form of a chat: a request becomes a chat completion's."""
