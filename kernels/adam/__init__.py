"""One step of Adam or AdamW, in place."""
