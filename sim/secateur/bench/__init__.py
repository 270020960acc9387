"""Test bench library: streams, the cocotb runner, the engine of the proofs, the test benches."""
