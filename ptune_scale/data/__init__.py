"""Facts and SuperGLUE-style records: reading, filtering, batching."""
