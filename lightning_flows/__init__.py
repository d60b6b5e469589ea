"""lightning_flows: convolution exponentials and generalized Sylvester flows as a PyTorch Lightning application."""

__version__ = "0.4.0"
