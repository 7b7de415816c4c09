"""An HTTP server in the words of the OpenAI API: stagegate serve."""
