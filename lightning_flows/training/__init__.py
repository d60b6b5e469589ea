"""What surrounds a training: signals, run folders, checkpoint files, time remaining."""
