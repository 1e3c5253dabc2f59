"""Images: compact transformers that classify them, pose transformers, and their tasks."""
