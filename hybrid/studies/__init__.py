"""The research questions as declared grids of runs, each answered by one command: `python -m hybrid.studies`."""
