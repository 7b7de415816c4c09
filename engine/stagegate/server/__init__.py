"""An HTTP server for the OpenAI API: stagegate serve."""
