"""What the toolkit promises of speed and memory, measured."""
