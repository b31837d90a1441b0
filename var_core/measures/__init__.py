"""What training and evaluation both judge by: `metrics` on arrays, a `classifier` of our own, what a tokenizer keeps
(`reconstruction`) and how well a transformer foretells tokens (`likelihood`)."""
