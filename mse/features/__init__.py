"""Extractors: an array goes in, (values, valid) come out; none knows where files lie."""
