"""Bijections of the node features of graphs."""
