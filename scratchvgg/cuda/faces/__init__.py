"""What Python knows of each kernel file: arrays are checked, the launch is shaped, the kernel is launched. One face a file."""
