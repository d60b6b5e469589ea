"""Figures, each in two steps: a function from a model or numbers to data, and one from data to a matplotlib figure.

Nothing here needs a screen or pyplot.
"""
