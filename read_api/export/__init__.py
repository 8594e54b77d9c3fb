"""`GET /v1/<path>/export`: all rows that pass, as a file of one moment, streamed."""
