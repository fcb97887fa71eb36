"""The ground floor: process group, seeds, logging, tracking, digests and atomic files."""
