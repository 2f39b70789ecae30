"""Report pages in a real browser: `make docs-test`."""
