"""Training of a tokenizer and a transformer on a folder or zip of pictures."""
