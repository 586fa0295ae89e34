"""VGG with nothing hidden."""
