"""What may happen inside a simulated engine, and the cycles in which it did."""
