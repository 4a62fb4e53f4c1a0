"""A rendered room through the model, to look at: what `make demo` runs."""
