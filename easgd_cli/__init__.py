"""The command line: `easgd stability`, `easgd map`, `easgd simulate`, `easgd reproduce`."""
