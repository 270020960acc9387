"""What is proved of the gateware, a component a file."""
