"""What training and evaluation both judge by: `metrics` on arrays, a `judge` on the features of `lite`, what a
tokenizer keeps (`reconstruction`) and how well a transformer foretells tokens (`likelihood`)."""
