"""What records say, for people: one HTML page that opens offline, Markdown and CSV."""
