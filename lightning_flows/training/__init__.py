"""Around the trainer: signals, run folders, checkpoint files, time remaining."""
