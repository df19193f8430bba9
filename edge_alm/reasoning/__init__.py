"""From events and a question to an answer."""
