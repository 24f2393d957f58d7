"""The command line: `easgd stability`, `easgd map`, `easgd reproduce`."""
