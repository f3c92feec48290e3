"""Single pictures of an animal: cut out, framed as a generator knows it, and seen from its cameras."""
