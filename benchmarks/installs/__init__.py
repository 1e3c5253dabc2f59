"""The built wheel in environments of its own."""
