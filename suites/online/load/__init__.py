"""Load generation for an OpenAI-compatible server, with the latencies that clients see."""
