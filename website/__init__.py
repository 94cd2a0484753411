"""The documentation site: the pages of `docs/`, with references that are generated from the program."""
