"""Progressive delivery for prompts."""
