"""Test bench library: streams, the cocotb runner, the stream contract, the test benches."""
