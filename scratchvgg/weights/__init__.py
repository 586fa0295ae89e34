"""Floor 2: files of numbers to plain arrays and back, and the verified download."""
